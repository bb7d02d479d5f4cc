//! Every figure that is measured with the whole binary, or with a real kernel under a part of it.
//!
//! `cargo bench -p portolan --bench figures -- [NAME…] [--services 100,10000] [--endpoints 2,10] [--modes nftables]`
//! runs benchmarks by name, or all of them; `--list` names them. Needs root. Without `--bench`, which cargo gives, the
//! sizes are so small that only correctness is looked at: so `cargo test` runs it.
//!
//! `cargo bench -p portolan --bench figures -- load --kubeconfig FILE --services N --endpoints M [--delete]` loads any API
//! server with what the benchmarks load theirs with.
//!
//! Each benchmark makes the namespaces that it needs and takes them away, and hands out a [`load::Report`]. One that fails
//! leaves the others alone: it keeps the figures that it had, its report says why it ended, and the exit code is 1.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what a benchmark is for")]

mod change;
mod commit;
mod datapath;
mod feed;
mod kills;
mod lab;
mod load_server;
mod resources;
mod rig;
mod sandbox;
mod soak;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Parser;
use load::{Fleet, Report};
use proxy::Mode;
use rig::{Cluster, Scene};

/// As the binary that users run has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Figures of portolan, measured", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Which benchmarks; all of them if none is named.
    names: Vec<String>,
    #[command(flatten)]
    sizes: Sizes,
    /// Name the benchmarks that run when none is named.
    #[arg(long)]
    list: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is no benchmark.
#[derive(clap::Subcommand)]
enum Command {
    /// Load any API server with Services and their endpoints, or unload it.
    Load(load_server::Arguments),
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
    /// How long the soak goes on.
    #[arg(long)]
    minutes: Option<f64>,
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

    /// Fleets: every number of Services with every number of endpoints.
    fn fleets(&self) -> Vec<Fleet> {
        let endpoints = self.endpoints(&[2, 10]);
        let of = |services| endpoints.iter().map(move |&endpoints| Fleet { services, endpoints });
        let mut fleets: Vec<Fleet> =
            self.services(&[100, 1_000, 10_000, 50_000]).into_iter().flat_map(of).collect();
        if self.services.is_empty() && self.endpoints.is_empty() && !self.smoke {
            // What is promised of a cold start.
            fleets.push(Fleet { services: 50_000, endpoints: 5 });
        }
        fleets
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
    run: Run,
}

/// How a benchmark is run.
#[derive(Clone, Copy)]
enum Run {
    /// It makes for itself what it needs.
    Alone(fn(&Sizes, &mut Report) -> anyhow::Result<()>),
    /// The same, but only when it is asked for, or in a smoke run.
    Asked(fn(&Sizes, &mut Report) -> anyhow::Result<()>),
    /// It measures in a cluster of each size, with the others that do: to load one takes up to minutes.
    InCluster(fn(&mut Scene<'_>) -> anyhow::Result<()>),
}

const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "commit",
        about: "from the event to the committed table, in one process",
        run: Run::Alone(commit::run),
    },
    Benchmark {
        name: "change",
        about: "a change through the API until the kernel has it",
        run: Run::InCluster(change::measure),
    },
    Benchmark {
        name: "datapath",
        about: "requests a second and latencies through a Service, beside straight to its endpoints",
        run: Run::Alone(datapath::run),
    },
    Benchmark {
        name: "start",
        about: "from the start of the process until the kernel holds everything",
        run: Run::InCluster(start::measure),
    },
    Benchmark {
        name: "resources",
        about: "memory, processor time and bytes to the kernel",
        run: Run::InCluster(resources::measure),
    },
    Benchmark {
        name: "kills",
        about: "killed in the middle of a cold start, and what the next start leaves",
        run: Run::Alone(kills::run),
    },
    Benchmark {
        name: "soak",
        about: "an hour of changes, kills and flushes: nothing grows",
        run: Run::Asked(soak::run),
    },
    Benchmark { name: "sandbox", about: "a pod's network: CNI ADD and DEL", run: Run::Alone(sandbox::run) },
    Benchmark {
        name: "lab",
        about: "labs of 3 and of 20 nodes until Services answer",
        run: Run::Alone(lab::run),
    },
];

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if is_of_another_harness(&error) => return Ok(ExitCode::SUCCESS),
        Err(error) => error.exit(),
    };
    arguments.sizes.smoke |= !arguments.bench;
    if let Some(Command::Load(arguments)) = &arguments.command {
        load_server::run(arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Arguments { names, sizes, list, json, .. } = arguments;
    if list {
        BENCHMARKS.iter().for_each(|benchmark| benchmark.list(json));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = names.iter().find(|name| BENCHMARKS.iter().all(|one| one.name != **name)) {
        // `cargo test NAME` gives every test program the name of a test in one of them.
        anyhow::ensure!(sizes.smoke, "there is no benchmark '{unknown}'; --list names them");
    }
    let asked = |one: &&Benchmark| match one.run {
        Run::Asked(_) if names.is_empty() => sizes.smoke,
        _ => names.is_empty() || names.iter().any(|name| name == one.name),
    };
    let benchmarks: Vec<&Benchmark> = BENCHMARKS.iter().filter(asked).collect();
    let mut failed = false;
    for measured in run(&benchmarks, &sizes)? {
        let Measured { report, failure } = measured;
        if json {
            println!("{}", report.to_json());
        } else {
            println!("{report}");
        }
        if let Some(error) = failure {
            eprintln!("{} failed: {error:?}", report.name);
            failed = true;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `cargo test -- --nocapture` and the like give every test program the flags of the usual harness.
fn is_of_another_harness(error: &clap::Error) -> bool {
    error.kind() == clap::error::ErrorKind::UnknownArgument && std::env::args().all(|word| word != "--bench")
}

impl Benchmark {
    /// Name and purpose; for programs also with which it is better run together, and whether it runs only by name.
    fn list(&self, json: bool) {
        let Self { name, about, run } = self;
        let (together, asked) = match run {
            Run::Alone(_) => (None, false),
            Run::Asked(_) => (None, true),
            Run::InCluster(_) => (Some("cluster"), false),
        };
        let json_line =
            serde_json::json!({"name": name, "about": about, "together": together, "asked": asked});
        match json {
            true => println!("{json_line}"),
            false => println!("{name:<12} {about}"),
        }
    }
}

/// What a benchmark has found so far, and what ended it early.
struct Measured {
    report: Report,
    failure: Option<anyhow::Error>,
}

impl Measured {
    fn fail(&mut self, error: anyhow::Error) {
        self.report.note(format!("failed: {error:#}"));
        self.failure = Some(error);
    }
}

/// Runs them. Reports are saved as soon as they have something new, so that nothing takes it away again.
fn run(benchmarks: &[&Benchmark], sizes: &Sizes) -> anyhow::Result<Vec<Measured>> {
    let mut all = Vec::new();
    let mut in_cluster = Vec::new();
    for &&Benchmark { name, about, run } in benchmarks {
        let mut measured = Measured { report: Report::new(name, about), failure: None };
        match run {
            Run::Alone(run) | Run::Asked(run) => {
                eprintln!("{name}: {about} …");
                // What was found before a failure stands.
                if let Err(error) = guarded(|| run(sizes, &mut measured.report)) {
                    measured.fail(error);
                }
                measured.report.save()?;
                all.push(measured);
            }
            Run::InCluster(measure) => in_cluster.push((measure, measured, BTreeSet::new())),
        }
    }
    if in_cluster.is_empty() {
        return Ok(all);
    }
    let mut beaten = BTreeMap::new();
    for fleet in sizes.fleets() {
        let size = format!("{} Services x {}", fleet.services, fleet.endpoints);
        let mut left: Vec<_> =
            in_cluster.iter_mut().filter(|(_, measured, _)| measured.failure.is_none()).collect();
        if left.is_empty() {
            break;
        }
        eprintln!("a cluster of {size} …");
        let cluster = Cluster::start(fleet, 1).map_err(|error| format!("no cluster of {size}: {error:#}"));
        for (measure, measured, told) in &mut left {
            eprintln!("{} at {size} …", measured.report.name);
            let report = &mut measured.report;
            let done = match &cluster {
                Ok(cluster) => {
                    guarded(|| measure(&mut Scene { cluster, sizes, report, beaten: &mut beaten, told }))
                }
                Err(error) => Err(anyhow::Error::msg(error.clone())),
            };
            if let Err(error) = done {
                measured.fail(error.context(format!("at {size}")));
            }
            measured.report.save()?;
        }
    }
    all.extend(in_cluster.into_iter().map(|(_, measured, _)| measured));
    Ok(all)
}

/// Runs a benchmark; a panic in it is its failure, and leaves the others alone.
fn guarded<T>(benchmark: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    // The hook has told of the panic on standard error; nobody looks at what the benchmark had, but at its report, to
    // which only whole figures are added.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(benchmark));
    done.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing was said");
        Err(anyhow::anyhow!("it panicked: {said}"))
    })
}

fn mode(word: &str) -> Result<Mode, String> {
    let known = Mode::ALL.into_iter().find(|mode| mode.word() == word);
    known.ok_or_else(|| format!("there are {}", Mode::ALL.map(Mode::word).join(", ")))
}
