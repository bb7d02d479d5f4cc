use std::io::Write;

use futures::StreamExt;
use proptest::prelude::*;

use super::*;
use crate::pods::facts::{ContainerFacts, Facts};

const LOG: &str = "2026-01-01T00:00:00.1Z stdout F one\n\
                   2026-01-01T00:00:01.2Z stderr F two\n\
                   2026-01-01T00:00:02.3Z stdout P thr\n\
                   2026-01-01T00:00:02.4Z stdout F ee\n";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A pod `web` with a container `c` whose only run wrote `log`.
struct Scene {
    _directory: tempfile::TempDir,
    catalog: Catalog,
    records: Records,
    record: Record,
}

impl Scene {
    fn new(log: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(directory.path()).unwrap();
        let catalog = Catalog::default();
        catalog.insert("default", "web", "u1");
        let pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
            "spec": {"containers": [{"name": "c", "image": "httpd"}, {"name": "d", "image": "httpd"}]},
        }));
        let mut facts = Facts::new(at(0));
        let run = Run::Running { id: container_id("u1", "c", 1), started: at(1) };
        *facts.container_mut("c") = ContainerFacts { attempts: 1, run, ..ContainerFacts::default() };
        let record = Record { pod: pod.unwrap(), facts };
        records.pod("u1").save(&record).unwrap();
        let path = records.pod("u1").log("c", 1);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, log).unwrap();
        Self { _directory: directory, catalog, records, record }
    }

    fn open(&self, container: &str, query: &LogQuery) -> Result<Source, LogError> {
        open(&self.catalog, &self.records, ("default", "web", container), query)
    }

    async fn read(&self, query: &str) -> String {
        let query = LogQuery::parse(query).unwrap();
        let source = self.open("c", &query).unwrap();
        let parts: Vec<_> = stream(source, query, "2026-01-01T00:00:10Z".parse().unwrap()).collect().await;
        parts.into_iter().map(|part| String::from_utf8(part.unwrap().to_vec()).unwrap()).collect()
    }
}

#[tokio::test]
async fn every_option_of_kubectl_logs() {
    let scene = Scene::new(LOG);
    assert_eq!(scene.read("").await, "one\ntwo\nthree\n");
    assert_eq!(scene.read("sinceTime=2026-01-01T00%3A00%3A01Z").await, "two\nthree\n");
    assert_eq!(scene.read("sinceSeconds=8").await, "three\n");
    assert_eq!(scene.read("limitBytes=5").await, "one\nt");
    assert_eq!(scene.read("tailLines=0").await, "");
    assert_eq!(scene.read("tailLines=3").await, "two\nthree\n");
    assert_eq!(scene.read("tailLines=100").await, "one\ntwo\nthree\n");
    assert!(scene.read("timestamps=true").await.starts_with("2026-01-01T00:00:00.1Z one\n2026"));
    assert!(scene.read("timestamps=true").await.ends_with("2026-01-01T00:00:02.3Z three\n"));
}

#[tokio::test]
async fn following_ends_with_the_container() {
    let mut scene = Scene::new(LOG);
    let query = LogQuery::parse("follow=true&tailLines=1").unwrap();
    let source = scene.open("c", &query).unwrap();
    let mut parts = Box::pin(stream(source, query, at(0)));
    assert_eq!(parts.next().await.unwrap().unwrap(), "ee\n");
    let path = scene.records.pod("u1").log("c", 1);
    let mut log = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    log.write_all(b"2026-01-01T00:00:03Z stdout F four\n").unwrap();
    assert_eq!(parts.next().await.unwrap().unwrap(), "four\n");
    log.write_all(b"2026-01-01T00:00:04Z stdout F five\n").unwrap();
    scene.record.facts.container_mut("c").run = Run::Never;
    scene.records.pod("u1").save(&scene.record).unwrap();
    assert_eq!(parts.next().await.unwrap().unwrap(), "five\n");
    assert!(parts.next().await.is_none());
}

#[test]
fn what_is_not_there_is_said_in_kubernetes_words() {
    let scene = Scene::new(LOG);
    let error = |container: &str, query: &str| {
        scene.open(container, &LogQuery::parse(query).unwrap()).unwrap_err().to_string()
    };
    assert_eq!(error("d", ""), "container \"d\" in pod \"web\" is waiting to start: ContainerCreating");
    assert_eq!(error("e", ""), "container \"e\" not found in pod \"web\"");
    assert_eq!(error("c", "previous=true"), "previous terminated container \"c\" in pod \"web\" not found");
    assert!(LogQuery::parse("tailLines=-1").is_err());
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same(bytes: Vec<u8>, cut in 0..64_usize) {
        let whole = Formatter::new(None, true).push(&bytes);
        let cut = cut.min(bytes.len());
        let mut pieces = Formatter::new(None, true);
        let mut joined = pieces.push(&bytes[..cut]);
        joined.extend(pieces.push(&bytes[cut..]));
        prop_assert_eq!(whole, joined);
    }

    #[test]
    fn the_tail_has_as_many_lines_as_asked_for(lines in 0..200_u64, wanted in 0..300_u64) {
        let mut file = tempfile::tempfile().unwrap();
        for line in 0..lines {
            writeln!(file, "{line}{}", "x".repeat(usize::try_from(line).unwrap() * 7)).unwrap();
        }
        let offset = tail_offset(&mut file, wanted).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        prop_assert_eq!(text.lines().count() as u64, lines.min(wanted));
    }
}
