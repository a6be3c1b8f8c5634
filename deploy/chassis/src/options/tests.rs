//! Options as a person meets them: a file, an environment and a command line go in, values or messages come out.

use std::io::Write;

use proto::{Access, Channel, Durability, Room, Tenant, UserId};
use serde::Deserialize;

use super::load::{Environment, load_from};
use super::*;

const SPECS: &[OptionSpec] = &[
    OptionSpec { key: "listen", kind: Kind::Text, default: "127.0.0.1:8080", help: "Where to listen." },
    OptionSpec { key: "redis", kind: Kind::Text, default: "", help: "Where Redis is." },
    OptionSpec {
        key: "limits.max_connections",
        kind: Kind::Integer,
        default: "10000",
        help: "How many | at once.",
    },
    OptionSpec { key: "limits.drain", kind: Kind::Duration, default: "2m", help: "How long." },
    OptionSpec { key: "limits.frame", kind: Kind::Size, default: "64KiB", help: "How large." },
    OptionSpec { key: "origins", kind: Kind::List, default: "", help: "Which pages." },
    OptionSpec { key: "compress", kind: Kind::Boolean, default: "false", help: "Whether." },
    OptionSpec { key: "auth.secret", kind: Kind::Secret, default: "env:JWT_SECRET", help: "The key." },
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    listen: std::net::SocketAddr,
    redis: Option<String>,
    limits: Limits,
    origins: Vec<String>,
    compress: bool,
    auth: Auth,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    max_connections: u32,
    drain: HumanDuration,
    frame: ByteSize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    secret: Option<Secret>,
}

/// What a person wrote.
#[derive(Default)]
struct Written {
    file: Option<tempfile::NamedTempFile>,
    environment: Environment,
    args: Vec<String>,
}

impl Written {
    fn file(mut self, text: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.args.extend(["--config".to_owned(), file.path().to_str().unwrap().to_owned()]);
        self.file = Some(file);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flags(mut self, flags: &[&str]) -> Self {
        self.args.extend(flags.iter().map(ToString::to_string));
        self
    }

    fn load(&self) -> Result<Loaded, OptionsError> {
        let args = std::iter::once("gateway".to_owned()).chain(self.args.clone());
        load_from("gateway", "Holds connections.", &[SPECS, CHANNELS], args, self.environment.clone())
    }

    fn config(&self) -> Config {
        self.load().unwrap().section(SPECS).unwrap()
    }

    /// The message of the refusal, wherever it comes from.
    fn refusal(&self) -> String {
        let error = match self.load() {
            Err(error) => error,
            Ok(loaded) => match loaded.section::<Config>(SPECS) {
                Err(error) => error,
                Ok(_) => channels(&loaded).unwrap_err(),
            },
        };
        error.to_string()
    }
}

#[test]
fn defaults_stand_in_the_table() {
    let config = Written::default().config();
    assert_eq!(config.listen.port(), 8080);
    assert_eq!(config.redis, None);
    assert_eq!(config.limits.max_connections, 10_000);
    assert_eq!(config.limits.drain, HumanDuration::from_secs(120));
    assert_eq!(config.limits.frame, ByteSize(65_536));
    assert!(config.origins.is_empty());
    assert!(!config.compress);
    assert!(config.auth.secret.is_none());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "[limits]\nmax_connections = 1\ndrain = '1s'\nframe = 1024\n";
    let written = Written::default()
        .file(file)
        .env("SWITCHBOARD_LIMITS_MAX_CONNECTIONS", "2")
        .env("SWITCHBOARD_LIMITS_DRAIN", "2s")
        .flags(&["--limits-max-connections", "3"]);
    let limits = written.config().limits;
    assert_eq!(
        (limits.max_connections, limits.drain, limits.frame),
        (3, HumanDuration::from_secs(2), ByteSize(1024))
    );

    let loaded = written.load().unwrap();
    assert_eq!(loaded.origin("limits.max_connections"), Origin::Flag("--limits-max-connections".to_owned()));
    assert_eq!(loaded.origin("limits.drain"), Origin::Environment("SWITCHBOARD_LIMITS_DRAIN".to_owned()));
    assert!(matches!(loaded.origin("limits.frame"), Origin::File(_, 4)));
    assert_eq!(loaded.origin("listen"), Origin::Default);
}

#[test]
fn the_environment_can_name_the_file_and_an_empty_variable_is_none() {
    let mut written = Written::default().file("redis = 'redis://file'").env("SWITCHBOARD_REDIS", "");
    let path = written.args.pop().unwrap();
    written.args.clear();
    assert_eq!(written.env("SWITCHBOARD_CONFIG", &path).config().redis.as_deref(), Some("redis://file"));
}

#[test]
fn lists_have_commas_and_flags_repeat() {
    let from_environment = Written::default().env("SWITCHBOARD_ORIGINS", "https://a, https://b,");
    assert_eq!(from_environment.config().origins, ["https://a", "https://b"]);
    let from_flags =
        Written::default().flags(&["--origins", "https://a,https://b", "--origins", "https://c"]);
    assert_eq!(from_flags.config().origins, ["https://a", "https://b", "https://c"]);
}

#[test]
fn a_boolean_flag_needs_no_value() {
    assert!(Written::default().flags(&["--compress"]).config().compress);
    assert!(
        !Written::default()
            .env("SWITCHBOARD_COMPRESS", "true")
            .flags(&["--compress=false"])
            .config()
            .compress
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_likely_one() {
    let message = Written::default().file("redis = 'x'\n[limits]\nmax_conections = 1\n").refusal();
    assert!(message.contains("limits.max_conections: there is no such option"), "{message}");
    assert!(message.contains("did you mean limits.max_connections?"), "{message}");
    assert!(message.contains("line 3)"), "{message}");
}

#[test]
fn a_wrong_value_is_named_with_where_it_was_written() {
    let cases = [
        (
            Written::default().file("[limits]\ndrain = '25 parsecs'"),
            ["limits.drain", "not a duration", "line 2"],
        ),
        (Written::default().file("[limits]\ndrain = 25"), ["limits.drain", "must be a duration", "line 2"]),
        (Written::default().file("limits = 3"), ["limits:", "must be a table", "line 1"]),
        (
            Written::default().env("SWITCHBOARD_LIMITS_FRAME", "big"),
            ["limits.frame", "not a size", "environment variable SWITCHBOARD_LIMITS_FRAME"],
        ),
        (
            Written::default().flags(&["--limits-max-connections=-1x"]),
            ["limits.max_connections", "not a whole number", "flag --limits-max-connections"],
        ),
        // This one only the component itself can find.
        (
            Written::default().flags(&["--listen", "nowhere"]),
            ["listen", "invalid socket address", "flag --listen"],
        ),
        (
            Written::default().env("SWITCHBOARD_LIMITS_MAX_CONNECTIONS", "-1"),
            ["limits.max_connections", "invalid value", "SWITCHBOARD_LIMITS_MAX_CONNECTIONS"],
        ),
    ];
    for (written, parts) in cases {
        let message = written.refusal();
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let message =
        Written::default().file("lisen = 1\nredis = 2\n").env("SWITCHBOARD_COMPRESS", "maybe").refusal();
    for key in ["lisen", "redis", "compress"] {
        assert!(message.contains(&format!("{key}: ")), "{message}");
    }
}

#[test]
fn a_broken_or_missing_file_is_named_without_its_contents() {
    let message = Written::default().file("\nredis = 'redis://:canary-1@host\n").refusal();
    assert!(message.contains("line 2"), "{message}");
    assert!(!message.contains("canary-1"), "{message}");
    let message = Written::default().flags(&["--config", "/nonexistent/x.toml"]).refusal();
    assert!(message.contains("/nonexistent/x.toml"), "{message}");
}

#[test]
fn secrets_come_from_the_environment_or_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "canary-1").unwrap();
    let path = file.path().to_str().unwrap();

    let written = Written::default().env("SWITCHBOARD_AUTH_SECRET_FILE", path);
    assert_eq!(written.config().auth.secret.unwrap().expose(), "canary-1");
    let written = Written::default().file(&format!("[auth]\nsecret = {{ file = {path:?} }}"));
    assert_eq!(written.config().auth.secret.unwrap().expose(), "canary-1");

    let both = Written::default()
        .env("SWITCHBOARD_AUTH_SECRET_FILE", path)
        .env("SWITCHBOARD_AUTH_SECRET", "canary-1");
    assert!(both.refusal().contains("SWITCHBOARD_AUTH_SECRET_FILE as well"));
    let inline = Written::default().file("[auth]\nsecret = 'canary-1'").refusal();
    assert!(inline.contains("auth.secret: must be { env") && !inline.contains("canary-1"), "{inline}");
    let flag = Written::default().flags(&["--auth-secret", "canary-1"]).load().unwrap_err();
    assert!(matches!(flag, OptionsError::CommandLine(_)));
    // Its default is a variable that need not be there.
    let loaded = Written::default().env("JWT_SECRET", "canary-1").load().unwrap();
    assert_eq!(loaded.origin("auth.secret"), Origin::Environment("JWT_SECRET".to_owned()));
    assert!(!format!("{loaded:?}").contains("canary-1"));
}

#[test]
fn unknown_variables_are_a_warning_unless_kubernetes_made_them() {
    let loaded = Written::default()
        .env("SWITCHBOARD_LISTN", "x")
        .env("SWITCHBOARD_GATEWAY_SERVICE_HOST", "10.0.0.1")
        .env("SWITCHBOARD_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1")
        .env("SWITCHBOARD_GATEWAY_PORT", "tcp://10.0.0.1:8080")
        .load()
        .unwrap();
    assert_eq!(loaded.warnings().len(), 1);
    assert!(loaded.warnings()[0].contains("SWITCHBOARD_LISTN"));
}

#[test]
fn help_teaches() {
    let error = Written::default().flags(&["--help"]).load().unwrap_err();
    let help = error.to_string();
    for part in [
        "Holds connections.",
        "--limits-max-connections <NUMBER>",
        "[default: 10000]",
        "[env: SWITCHBOARD_LIMITS_MAX_CONNECTIONS]",
        "--config <FILE>",
        "--check",
        "Examples:",
        "gateway --config new.toml --check",
    ] {
        assert!(help.contains(part), "{help}\nlacks {part:?}");
    }
    assert_eq!(error.exit_code(), 0);
    assert!(Written::default().flags(&["--check"]).load().unwrap().is_check());
}

#[test]
fn every_option_stands_in_the_reference() {
    let text = reference(&[SPECS, CHANNELS]);
    for spec in SPECS {
        assert!(text.contains(&format!("| `{}` |", spec.key)), "{text}");
    }
    assert!(
        text.contains("\n## `[[channels]]`\n") && text.contains("| `history_age` | duration | `1h` |"),
        "{text}"
    );
    assert!(text.contains("`--limits-drain` | `SWITCHBOARD_LIMITS_DRAIN` | `2m` |"), "{text}");
    assert!(text.contains("How many \\| at once."), "{text}");
}

#[test]
fn two_components_share_an_option_only_if_they_mean_the_same() {
    let other = &[OptionSpec { default: "other", ..SPECS[0] }];
    let clash = &[OptionSpec { key: "limits_drain", ..SPECS[3] }];
    let load = |specs: &[&[OptionSpec]]| load_from("x", "", specs, ["x"], Environment::new());
    assert!(load(&[SPECS, SPECS]).is_ok());
    assert!(matches!(load(&[SPECS, other]), Err(OptionsError::Ambiguous(key)) if key == "listen"));
    assert!(matches!(load(&[SPECS, clash]), Err(OptionsError::Ambiguous(key)) if key == "limits_drain"));
}

#[test]
fn channels_take_their_options_from_the_first_table_that_fits() {
    let written = Written::default().file(
        "[[channels]]\nmatch = 'room:live-*'\nhistory_size = 0\njoin = 'anyone'\npublish = 'nobody'\n\
         max_message = '1KiB'\npresence = false\ndurability = 'fsync'\n\
         [[channels]]\nmatch = '*'\nhistory_age = '10s'\n",
    );
    let rules = channels(&written.load().unwrap()).unwrap();
    let tenant = Tenant::new("t").unwrap();
    let live = rules.of(&Channel::room(&tenant, &Room::new("live-1").unwrap())).clone();
    assert_eq!((live.history_size, live.join, live.publish), (0, Access::Anyone, Access::Nobody));
    assert_eq!((live.max_message, live.presence, live.history_age.as_secs()), (1024, false, 3600));
    assert_eq!(live.durability, Durability::Fsync);
    let user = rules.of(&Channel::user(&tenant, &UserId::new("1").unwrap()));
    assert_eq!(user.durability, Durability::Memory);
    assert_eq!((user.history_age.as_secs(), user.history_size), (10, 100));
}

#[test]
fn a_wrong_channel_table_is_named_with_its_line() {
    let table = |rest: &str| Written::default().file(&format!("[[channels]]\nmatch = 'room:*'\n{rest}"));
    for (written, parts) in [
        (table("join = 'everybody'"), ["channels[0].join", "unknown variant", "line 3"]),
        (table("histroy_size = 1"), ["channels[0].histroy_size", "unknown field", "line 3"]),
        (table("history_age = '9'"), ["channels[0].history_age", "not a duration", "line 3"]),
        (table("history_size = 0\nlatest = true"), ["channels[0].latest", "needs a history_size", "line 4"]),
        (table("[[channels]]\nmatch = 'lobby'"), ["channels[1].match", "must begin with room:", "line 4"]),
        (table("[[channels]]\njoin = 'nobody'"), ["channels[1]", "missing field `match`", "line 3"]),
    ] {
        let message = written.refusal();
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }
}
