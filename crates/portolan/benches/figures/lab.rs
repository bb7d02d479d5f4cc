//! How long a lab takes: until the API's own Service answers on a node, until one of pods does that kubectl applied, and
//! until it answers on the last of twenty nodes. Timed as a person would: with the commands that are typed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use load::{Report, Samples, Target};
use tempfile::TempDir;

use crate::Sizes;

/// How long anything may take. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);
/// More labs than this say nothing new, whatever `--rounds` is.
const MOST_ROUNDS: u32 = 20;
/// The Services `kubernetes` and `httpd-svc`, the latter as `examples/httpd-svc.yaml` has it.
const KUBERNETES: &str = "https://10.96.0.1/version";
const HTTPD: &str = "http://10.96.203.6:8080/";

/// Runs it.
pub fn run(sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let (nodes, many) = if sizes.smoke { (1, None) } else { (3, Some(20)) };
    let rounds = if sizes.smoke { 1 } else { sizes.rounds(5).min(MOST_ROUNDS) };
    let place = Place::new()?;
    let (mut up, mut kubernetes, mut httpd) = (Samples::default(), Samples::default(), Samples::default());
    for round in 1..=rounds {
        let begin = Instant::now();
        let lab = place.lab(nodes)?;
        up.push(begin.elapsed());
        lab.wait("node1", KUBERNETES)?;
        kubernetes.push(begin.elapsed());
        lab.apply(&["httpd.yaml", "httpd-svc.yaml"])?;
        lab.wait("node1", HTTPD)?;
        httpd.push(begin.elapsed());
        eprintln!("  lab {round} of {rounds}: {:.0} ms", begin.elapsed().as_secs_f64() * 1000.0);
        lab.down()?;
    }
    report.note(format!("medians of {rounds} labs of {nodes} nodes"));
    let target = Some(Target::AtMost(3000.0));
    report.row(format!("{nodes} nodes: the command ends, nodes are Ready"), up.percentile(0.5), "ms", None);
    let what = format!("{nodes} nodes: the Service kubernetes answers on a node");
    report.row(what, kubernetes.percentile(0.5), "ms", target);
    let what = format!("{nodes} nodes, kubectl apply: the Service httpd-svc answers");
    report.row(what, httpd.percentile(0.5), "ms", target);
    if let Some(nodes) = many {
        let begin = Instant::now();
        let lab = place.lab(nodes)?;
        lab.wait(&format!("node{nodes}"), KUBERNETES)?;
        let milliseconds = begin.elapsed().as_secs_f64() * 1000.0;
        report.row(
            format!("{nodes} nodes: the Service kubernetes answers on the last"),
            milliseconds,
            "ms",
            None,
        );
        lab.down()?;
    }
    Ok(())
}

/// A state directory with the images that the examples need.
struct Place {
    state: TempDir,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let place = Self { state: tempfile::tempdir()? };
        let directory = images()?;
        let entries = std::fs::read_dir(&directory)
            .with_context(|| format!("no images in {}: images/build.sh makes them", directory.display()))?;
        for entry in entries {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "tar") {
                done(place.portolan(&["image", "import"]).arg(file))?;
            }
        }
        Ok(place)
    }

    fn portolan(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command.env("PORTOLAN_STATE_DIR", self.state.path()).args(words);
        command
    }

    fn lab(&self, nodes: u32) -> anyhow::Result<Lab<'_>> {
        let lab = Lab { place: self, name: format!("bench-{}", std::process::id()) };
        done(&mut self.portolan(&["lab", "up", "--name", &lab.name, "--nodes", &nodes.to_string()]))?;
        Ok(lab)
    }
}

/// A lab, which goes away with the value.
struct Lab<'a> {
    place: &'a Place,
    name: String,
}

impl Lab<'_> {
    /// Waits until a web server answers somebody on a node, who asks again at once.
    fn wait(&self, node: &str, url: &str) -> anyhow::Result<()> {
        let ask = format!(
            "end=$(($(date +%s) + {})); until curl -ksf --max-time 1 -o /dev/null {url}; \
             do [ $(date +%s) -lt $end ] || exit 1; done",
            PATIENCE.as_secs()
        );
        let words = ["lab", "exec", "--name", &self.name, node, "--", "sh", "-c", &ask];
        done(&mut self.place.portolan(&words)).with_context(|| format!("{url} does not answer on {node}"))
    }

    /// `kubectl apply` of examples, in one call.
    fn apply(&self, examples: &[&str]) -> anyhow::Result<()> {
        let directory = self.place.state.path().join("labs").join(&self.name);
        let mut kubectl = Command::new("kubectl");
        kubectl
            .env("KUBECONFIG", directory.join("kubeconfig"))
            .env("KUBECACHEDIR", directory.join("kubectl-cache"));
        kubectl.arg("apply");
        for file in examples {
            kubectl.arg("-f").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(file));
        }
        done(&mut kubectl)
    }

    fn down(self) -> anyhow::Result<()> {
        let down = self.remove();
        std::mem::forget(self);
        down
    }

    fn remove(&self) -> anyhow::Result<()> {
        done(&mut self.place.portolan(&["lab", "down", "--name", &self.name]))
    }
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("lab down: {error:#}");
        }
    }
}

/// Where `images/build.sh` puts what it makes.
fn images() -> anyhow::Result<PathBuf> {
    let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => anyhow::bail!("neither XDG_CACHE_HOME nor HOME says where the images are"),
    };
    Ok(cache.join("portolan/images"))
}

/// Runs a command that must succeed.
fn done(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    Ok(())
}
