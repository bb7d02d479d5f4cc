//! Writes the inputs that the targets begin with: `fuzz-seeds DIRECTORY` makes `DIRECTORY/TARGET/seed-N`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "corpus".into()));
    for (target, inputs) in portolan_apiserver::fuzzing::seeds() {
        let directory = directory.join(target);
        std::fs::create_dir_all(&directory)?;
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), input)?;
        }
    }
    Ok(())
}
