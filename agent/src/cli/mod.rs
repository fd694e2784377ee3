//! The command line of `sund`.
use crate::demo::{self, Case};
use crate::exit::Exit;
use crate::worker;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Inference appliance for hospital imaging.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the main job on packaged data: sender, node, model, stand-in PACS, console.
    Demo {
        /// Only this case.
        #[arg(long)]
        case: Option<Case>,
        /// End after the story; 0 only if every step held.
        #[arg(long)]
        once: bool,
        /// Where spool, models and results are put; a new temporary folder otherwise.
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Runs jobs for an agent, on the socket that standard input is.
    #[command(hide = true)]
    Worker,
}

/// Runs a command; how the process ends.
pub fn run(arguments: Arguments) -> Exit {
    match arguments.command {
        Command::Demo { case, once, folder } => run_demo(demo::Options { case, once, folder }),
        Command::Worker => match worker::serve() {
            Ok(()) => Exit::Ok,
            Err(error) => {
                tracing::error!(%error, "the worker ends");
                Exit::Internal
            }
        },
    }
}

fn run_demo(options: demo::Options) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return Exit::Unavailable;
        }
    };
    match runtime.block_on(demo::run(options)) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tracing::error!("the demonstration failed: {error:#}");
            Exit::Failed
        }
    }
}
