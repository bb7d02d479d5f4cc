//! What was acknowledged is there after a kill -9.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use portolan_apiserver::store::{Key, ListQuery, Operation, Start, Store, StoreConfig};
use serde_json::json;

const FOLDER: &str = "PORTOLAN_TEST_STORE";

fn open(folder: &Path) -> Store {
    Store::open(&StoreConfig::new(folder.join("store.redb"))).unwrap()
}

/// The process that is killed: writes several objects at once, and prints the name of each that is acknowledged.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by acknowledged_writes_survive_a_kill, which kills it"]
async fn writes_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(Path::new(&folder));
    let start = store.revision();
    loop {
        let writes = (0..10).map(|number| {
            let name = format!("{start}-{}-{number}", store.revision());
            let object = json!({"metadata": {"name": name}, "data": "x".repeat(500)});
            store.write(Operation::Create { key: Key::new("things", "", &name), object })
        });
        let mut out = String::new();
        for outcome in futures::future::join_all(writes).await {
            out.push_str(&format!("acknowledged {}\n", outcome.unwrap().key.name()));
        }
        std::io::stdout().lock().write_all(out.as_bytes()).unwrap();
    }
}

#[test]
fn acknowledged_writes_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 1..=8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::writes_until_killed", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let name = |line: String| line.strip_prefix("acknowledged ").map(str::to_owned);
        let wanted = acknowledged.len() + round * 17;
        while acknowledged.len() < wanted {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            acknowledged.extend(name(line));
        }
        child.kill().unwrap();
        // What it had printed before it died counts too. A batch is one small write to the pipe: no line is cut off.
        acknowledged.extend(lines.map_while(Result::ok).filter_map(name));
        child.wait().unwrap();
        let store = open(folder.path());
        let query = ListQuery {
            resource: "things",
            namespace: None,
            start: Start::Latest { at_least: 0 },
            limit: None,
        };
        let page = store.list(&query, |_| true).unwrap();
        let stored: Vec<&str> = page.records.iter().map(|record| record.key.name()).collect();
        let lost = acknowledged.iter().filter(|name| stored.binary_search(&name.as_str()).is_err());
        assert_eq!(lost.count(), 0, "round {round}: of {} acknowledged writes", acknowledged.len());
    }
}
