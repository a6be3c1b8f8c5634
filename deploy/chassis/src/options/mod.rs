//! Options: every one is a flag, an environment variable and a key of the configuration file, in that order of
//! precedence, with one name.
//!
//! A component describes its options in a table of [`OptionSpec`]s next to the struct that it reads them into.
//! [`load`] lays the sources over each other and refuses unknown keys and wrong kinds; [`Loaded::section`] gives
//! each component its own struct; [`reference`] writes the documentation.

mod channels;
mod command;
mod error;
mod file;
mod load;
mod reference;
mod secret;
mod shared;
mod spec;
#[cfg(test)]
mod tests;
mod values;

pub use channels::{CHANNELS, channels};
pub use error::{Mistake, OptionsError, Origin};
#[cfg(test)]
pub(crate) use load::load_from;
pub use load::{Loaded, load};
pub use reference::reference;
pub use secret::{Secret, SecretError};
pub use shared::{OF_FANOUT, OF_GATEWAY};
pub use spec::{Field, Kind, OptionSpec};
pub use values::{ByteSize, HumanDuration, ValueError};
