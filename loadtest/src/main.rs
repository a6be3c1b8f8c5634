//! Measures a server, and beside it what the kernel asks for.

#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::net::SocketAddr;

use anyhow::Result;
use clap::{Parser, Subcommand};
use switchboard_loadtest::floor::{Floor, Writes};

/// Measures a server, and beside it what the kernel asks for.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the floor alone, until standard input ends.
    Floor {
        /// How frames that are published together reach a socket.
        #[arg(long, value_enum, default_value = "each")]
        writes: Writes,
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Floor { writes, listen } => {
            let floor = Floor::bind(listen, writes)?;
            writeln!(io::stdout(), "{}", floor.address()?)?;
            floor.serve()
        }
    }
}
