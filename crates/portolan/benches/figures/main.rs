//! Every figure that is measured with the whole binary, or with a real kernel under a part of it.
//!
//! `cargo bench -p portolan --bench figures -- [NAME…] [--services 100,10000] [--endpoints 2,10] [--modes nftables]`
//! runs benchmarks by name, or all of them; `--list` names them. Needs root. Without `--bench`, which cargo gives, the
//! sizes are so small that only correctness is looked at: so `cargo test` runs it.
//!
//! Each benchmark makes the namespaces that it needs and takes them away, and hands out a [`load::Report`].

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what a benchmark is for")]

mod commit;
mod sandbox;

use clap::Parser;
use load::Report;
use proxy::Mode;

/// As the binary that users run has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Figures of portolan, measured")]
struct Arguments {
    /// Which benchmarks; all of them if none is named.
    names: Vec<String>,
    #[command(flatten)]
    sizes: Sizes,
    /// Name the benchmarks.
    #[arg(long)]
    list: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is measured. What is not given has the benchmark's own default.
#[derive(Debug, Clone, clap::Args)]
struct Sizes {
    /// Numbers of Services.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=200_000))]
    services: Vec<u32>,
    /// Numbers of endpoints that each has.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000))]
    endpoints: Vec<u32>,
    /// Proxy modes.
    #[arg(long, value_delimiter = ',', value_parser = mode)]
    modes: Vec<Mode>,
    /// Changes, requests or rounds of each sort.
    #[arg(long)]
    rounds: Option<u32>,
    /// The smallest sizes at which everything still happens.
    #[arg(long)]
    smoke: bool,
}

impl Sizes {
    /// Numbers of Services: those asked for, or else `usual`; 20 in a smoke run.
    fn services(&self, usual: &[u32]) -> Vec<u32> {
        self.or(&self.services, &[20], usual)
    }

    /// Numbers of endpoints: those asked for, or else `usual`; 2 in a smoke run.
    fn endpoints(&self, usual: &[u32]) -> Vec<u32> {
        self.or(&self.endpoints, &[2], usual)
    }

    /// Modes: those asked for, or else `usual`.
    fn modes(&self, usual: &[Mode]) -> Vec<Mode> {
        self.or(&self.modes, usual, usual)
    }

    /// Rounds: those asked for, or else `usual`; 3 in a smoke run.
    fn rounds(&self, usual: u32) -> u32 {
        self.rounds.unwrap_or(if self.smoke { 3 } else { usual })
    }

    fn or<T: Clone>(&self, asked: &[T], smoke: &[T], usual: &[T]) -> Vec<T> {
        match asked {
            [] if self.smoke => smoke.to_vec(),
            [] => usual.to_vec(),
            asked => asked.to_vec(),
        }
    }
}

/// A benchmark.
struct Benchmark {
    name: &'static str,
    about: &'static str,
    run: fn(&Sizes) -> anyhow::Result<Report>,
}

const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "commit",
        about: "from the event to the committed table, in one process",
        run: commit::run,
    },
    Benchmark { name: "sandbox", about: "a pod's network: CNI ADD and DEL", run: sandbox::run },
];

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::parse();
    arguments.sizes.smoke |= !arguments.bench;
    let Arguments { names, sizes, list, json, .. } = arguments;
    if list {
        BENCHMARKS.iter().for_each(|Benchmark { name, about, .. }| println!("{name:<12} {about}"));
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| BENCHMARKS.iter().all(|one| one.name != **name)) {
        anyhow::bail!("there is no benchmark '{unknown}'; --list names them");
    }
    for benchmark in BENCHMARKS {
        if !names.is_empty() && names.iter().all(|name| name != benchmark.name) {
            continue;
        }
        eprintln!("{}: {} …", benchmark.name, benchmark.about);
        let report = (benchmark.run)(&sizes)?;
        report.save()?;
        if json {
            println!("{}", report.to_json());
        } else {
            println!("{report}");
        }
    }
    Ok(())
}

fn mode(word: &str) -> Result<Mode, String> {
    let known = Mode::ALL.into_iter().find(|mode| mode.word() == word);
    known.ok_or_else(|| format!("there are {}", Mode::ALL.map(Mode::word).join(", ")))
}
