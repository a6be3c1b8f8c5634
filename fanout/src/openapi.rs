//! The description of the API (OpenAPI 3.1), generated from the code that serves it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proto::{Durability, ErrorCode};
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItemBuilder, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder,
};
use utoipa::{IntoResponses, Modify, OpenApi as _, PartialSchema, ToSchema};

use crate::request::{MAX_USERS, To};
use crate::response::Receipt;

/// The description without the calls; the router adds those that it serves.
pub(crate) fn outline() -> OpenApi {
    Outline::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Switchboard",
        description = "One call reaches every client on every node: a room, a user, several users, or everyone of a \
                       tenant. Every error is answered with problem details (RFC 9457)."
    ),
    modifiers(&Credentials, &Deliveries),
    tags(
        (name = "publish", description = "Messages from backends to clients"),
        (name = "users", description = "Who is connected"),
        (name = "rooms", description = "What there is, and what was said"),
        (name = "memberships", description = "Rooms that the backend puts users into"),
        (name = "outbox", description = "What clients publish, on its way to the backend")
    )
)]
struct Outline;

/// The two sorts of credentials, both in `Authorization: Bearer`.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, api: &mut OpenApi) {
        let bearer = |format: Option<&str>, description: &str| {
            let mut scheme =
                HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
            scheme.bearer_format = format.map(str::to_owned);
            SecurityScheme::Http(scheme)
        };
        let components = api.components.get_or_insert_default();
        components.add_security_scheme(
            "token",
            bearer(
                Some("JWT"),
                "A token that has the scope for publishing or for administration (`publish` and `admin`, unless \
                 configured otherwise).",
            ),
        );
        components.add_security_scheme("apiKey", bearer(None, "An API key from the configuration."));
    }
}

/// What is posted to the backend.
struct Deliveries;

impl Modify for Deliveries {
    fn modify(&self, api: &mut OpenApi) {
        let header = |name: &str, description: &str| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Header)
                .required(Required::True)
                .description(Some(description))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        };
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Delivery"))).build();
        let answer = |description: &str| ResponseBuilder::new().description(description);
        let operation = OperationBuilder::new()
            .tag("outbox")
            .summary(Some("Delivers what a client published, or that somebody came or went"))
            .description(Some(
                "Posted to the `url` of a table `[[outbox]]`, signed as Standard Webhooks says: at least once, and of each \
                 channel in order. Keep the ids that you have seen: a repetition has the same one.",
            ))
            .parameter(header("webhook-id", "Names what happened; the same however often it is delivered."))
            .parameter(header("webhook-timestamp", "When it was sent, in seconds since 1970."))
            .parameter(header(
                "webhook-signature",
                "`v1,` and the HMAC-SHA256 over id, time and body; two of them, with a space between, while the secret is changed.",
            ))
            .request_body(Some(RequestBodyBuilder::new().content("application/json", body).build()))
            .response("2XX", answer("It is taken"))
            .response("4XX", answer("It is refused: for good where `give_up_on` has the status, and otherwise for now"))
            .response("5XX", answer("It is delivered again later, not before `Retry-After`"));
        let delivery = PathItemBuilder::new().operation(HttpMethod::Post, operation);
        api.webhooks = Some(PathsBuilder::new().path("delivery", delivery.build()).build());
    }
}

/// What went wrong (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "the shape of what chassis writes, for the description alone")]
#[schema(examples(json!({"type": "urn:problem-type:switchboard:invalid_name", "title": "Invalid name", "status": 400, "detail": "has a character that is not allowed at byte 1", "code": "invalid_name", "retryable": false, "pointer": "/to/room"})))]
pub(crate) struct ProblemBody {
    /// Names the sort of problem.
    #[schema(rename = "type", format = "uri", examples("urn:problem-type:switchboard:invalid_name"))]
    kind: String,
    /// The sort of problem in words.
    #[schema(examples("Invalid name"))]
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, examples(400))]
    status: u16,
    /// What is wrong with this call.
    #[schema(examples("has a character that is not allowed at byte 1"))]
    detail: Option<String>,
    /// A stable word for programs.
    #[schema(schema_with = error_code)]
    code: String,
    /// Whether the same call may succeed later, unchanged.
    retryable: bool,
    /// The part of the body that is meant: a JSON pointer (RFC 6901), empty for the whole body.
    #[schema(examples("/to/room"))]
    pointer: Option<String>,
    /// Where a message to several users failed in part: the channels that have it.
    results: Option<Vec<Receipt>>,
}

fn error_code() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(ErrorCode::ALL.iter().map(|code| code.as_str())))
        .build()
}

pub(crate) fn durability() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(Durability::ALL.map(Durability::as_str)))
        .build()
}

impl ToSchema for To {
    fn name() -> Cow<'static, str> {
        "To".into()
    }
}

impl PartialSchema for To {
    fn schema() -> RefOr<Schema> {
        // With its prefix it has to be the name of a room.
        const FOLLOWED: usize = 128 - "followers:".len();
        let name = |longest: usize| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(longest))
                .pattern(Some("^[A-Za-z0-9_.:@+=|~-]+$"))
        };
        let only = |key: &str, schema: RefOr<Schema>, description: &str, example| {
            ObjectBuilder::new()
                .description(Some(description))
                .property(key, schema)
                .required(key)
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
                .examples([serde_json::json!({ key: example })])
        };
        let users = ArrayBuilder::new().items(name(128)).min_items(Some(1)).max_items(Some(MAX_USERS));
        let always = ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true]));
        OneOfBuilder::new()
            .description(Some("Who gets a message: exactly one of these keys."))
            .item(only("room", name(128).into(), "Everyone in a room.", "lobby".into()))
            .item(only("user", name(128).into(), "Every session of a user.", "42".into()))
            .item(only(
                "users",
                users.into(),
                "Every session of each of these users; who is named twice gets it once.",
                serde_json::json!(["42", "43"]),
            ))
            .item(only(
                "followers",
                name(FOLLOWED).into(),
                "Everyone who follows a user: the members of the room `followers:<user>`.",
                "7".into(),
            ))
            .item(only("all", always.into(), "Everyone of the tenant.", true.into()))
            .into()
    }
}

/// How `POST /v1/publish` can fail.
pub(crate) struct PublishProblems;

impl IntoResponses for PublishProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let own = [
            ("403", "The token lacks the scope, or `tenant` names one that the caller may not publish to"),
            (
                "422",
                "The id was used before for another message, or `binary` names a place where `data` has no Base64",
            ),
            ("501", "The `durability` that was asked for cannot be had here; nothing was stored"),
        ];
        BatchProblems::responses().into_iter().chain(own.map(problem)).collect()
    }
}

/// How `POST /v1/publish/batch` can fail as a whole.
pub(crate) struct BatchProblems;

impl IntoResponses for BatchProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from(
            [
                ("400", "The body is not what the call takes, or a name in it is not allowed; `pointer` names the place"),
                ("401", "The credential is missing, wrong or too old"),
                ("403", "The token lacks the scope"),
                ("408", "The body did not arrive in time"),
                ("413", "The body is larger than the API takes, or the data larger than the channel takes"),
                ("415", "The body is not declared as application/json"),
                ("429", "The caller publishes more messages than it may (option `publish.rate`)"),
                ("503", "The message could not be stored in time, or is stored and could not be confirmed in time (code `unconfirmed`), or too many calls are in flight; repeat it with the same id"),
            ]
            .map(problem),
        )
    }
}

/// How every call of administration can fail.
pub(crate) struct AdminProblems;

impl IntoResponses for AdminProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from(
            [
                ("400", "A name or a parameter is not allowed, or the body is not what the call takes"),
                ("401", "The credential is missing, wrong or too old"),
                ("403", "The credential lacks the scope for administration, or does not reach the tenant, or presence is off"),
                ("429", "The caller makes more calls than it may (option `fanout.admin_rate`)"),
                ("503", "There was no answer in time, or too many calls are in flight; repeating it is safe"),
            ]
            .map(problem),
        )
    }
}

/// How a call of administration with a body can fail as well.
pub(crate) struct ChangeProblems;

impl IntoResponses for ChangeProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from(
            [
                ("408", "The body did not arrive in time"),
                ("413", "The body is larger than the API takes, or the data larger than the channel takes"),
                ("415", "The body is not declared as application/json"),
            ]
            .map(problem),
        )
    }
}

/// How a call about a dead letter can fail as well.
pub(crate) struct NoLetterProblems;

impl IntoResponses for NoLetterProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([problem(("404", "There is no such dead letter of this tenant"))])
    }
}

/// How a call about somebody connected can fail as well.
pub(crate) struct AwayProblems;

impl IntoResponses for AwayProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([problem(("404", "There is no such session on any node"))])
    }
}

/// How a call that revokes can fail as well.
pub(crate) struct FullProblems;

impl IntoResponses for FullProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([problem(("422", "As much is revoked as can be: 100,000 tokens and users"))])
    }
}

/// How a call that adds something can fail as well.
pub(crate) struct LimitProblems;

impl IntoResponses for LimitProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([problem(("422", "The user is a member of 10,000 rooms already"))])
    }
}

fn problem((status, description): (&str, &str)) -> (String, RefOr<Response>) {
    let header = |description: &str, kind: Type| {
        HeaderBuilder::new()
            .description(Some(description))
            .schema(Some(ObjectBuilder::new().schema_type(SchemaType::new(kind))))
            .build()
    };
    let response = ResponseBuilder::new().description(description).content(
        "application/problem+json",
        ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build(),
    );
    let response = match status {
        "401" => response.header("WWW-Authenticate", header("Always `Bearer`.", Type::String)),
        "429" | "503" => {
            response.header("Retry-After", header("Seconds to wait before trying again.", Type::Integer))
        }
        _ => response,
    };
    (status.to_owned(), response.build().into())
}
