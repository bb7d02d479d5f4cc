//! A writer with objects of its own, that remembers what it was told about them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, StatusCode};
use load::{Answer, Client, Error};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::object::{self, Id, Resource, Seen, annotations};

/// Objects that each writer has at most.
const OBJECTS: usize = 12;
const JSON: &str = "application/json";

pub struct Writer {
    number: usize,
    client: Client,
    random: StdRng,
    objects: BTreeMap<Id, State>,
    next_step: u64,
    /// Revisions that were told, and the object of each.
    pub acknowledged: Vec<(u64, Id)>,
    pub highest: u64,
    pub answered: u64,
    pub unanswered: u64,
}

/// What the writer knows of an object; `None` for one that is not there.
#[derive(Debug, Clone, Copy)]
enum State {
    Known(Option<Seen>),
    /// A write was not answered: it is there, or not.
    Either {
        before: Option<Seen>,
        step: Option<u64>,
    },
}

impl Writer {
    pub fn new(number: usize, client: Client, seed: u64) -> Self {
        Self {
            number,
            client,
            random: StdRng::seed_from_u64(seed),
            objects: BTreeMap::new(),
            next_step: 0,
            acknowledged: Vec::new(),
            highest: 0,
            answered: 0,
            unanswered: 0,
        }
    }

    /// Writes until a write is not answered, counting those that are.
    pub async fn write_until_broken(mut self, counter: Arc<AtomicU64>) -> Self {
        loop {
            let id = self.choose();
            let before = match self.objects.get(&id) {
                None | Some(State::Known(None)) => None,
                Some(State::Known(Some(seen))) => Some(*seen),
                Some(State::Either { .. }) => unreachable!("every object is looked at after a start"),
            };
            self.next_step += 1;
            let delete = before.is_some() && self.random.random_bool(0.25);
            let step = (!delete).then_some(self.next_step);
            let outcome = match (before, step) {
                (None, _) => self.create(&id).await,
                (Some(_), None) => self.delete(&id).await,
                (Some(_), Some(_)) if self.random.random_bool(0.5) => self.patch(&id).await,
                (Some(_), Some(_)) => self.replace(&id).await,
            };
            let Ok(answer) = outcome else {
                self.unanswered += 1;
                self.objects.insert(id, State::Either { before, step });
                return self;
            };
            self.note(id, &answer, step);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn choose(&mut self) -> Id {
        let number = self.random.random_range(0..OBJECTS);
        let resource = if number.is_multiple_of(3) { Resource::Services } else { Resource::ConfigMaps };
        Id { resource, name: format!("writer-{}-{number}", self.number) }
    }

    async fn create(&mut self, id: &Id) -> Result<Answer, Error> {
        let (step, exposed) = (self.next_step, self.random.random_bool(0.5));
        let path = id.resource.path();
        if self.random.random_bool(0.5) {
            let body = id.resource.protobuf(&id.name, step, exposed);
            return self.client.send(Method::POST, path, "application/vnd.kubernetes.protobuf", body).await;
        }
        self.client.post(path, id.resource.object(&id.name, step, exposed).to_string()).await
    }

    async fn delete(&self, id: &Id) -> Result<Answer, Error> {
        self.client.send(Method::DELETE, &path(id), JSON, Bytes::new()).await
    }

    async fn patch(&mut self, id: &Id) -> Result<Answer, Error> {
        let media = ["application/merge-patch+json", "application/strategic-merge-patch+json"];
        let media = media[self.random.random_range(0..media.len())];
        let patch = json!({"metadata": {"annotations": annotations(self.next_step)}});
        self.client.send(Method::PATCH, &path(id), media, patch.to_string().into()).await
    }

    /// Reads and writes back, as an update is done.
    async fn replace(&self, id: &Id) -> Result<Answer, Error> {
        let mut object: Value = self.client.get(&path(id)).await?.json();
        object["metadata"]["annotations"] = annotations(self.next_step);
        self.client.send(Method::PUT, &path(id), JSON, object.to_string().into()).await
    }

    fn note(&mut self, id: Id, answer: &Answer, step: Option<u64>) {
        let object = answer.json();
        assert!(matches!(answer.code, StatusCode::OK | StatusCode::CREATED), "{id:?}: {object}");
        let state = step.map(|step| {
            let revision = object::revision(&object);
            assert!(revision > self.highest, "{id:?}: revision {revision} after {}", self.highest);
            self.highest = revision;
            self.acknowledged.push((revision, id.clone()));
            Seen { step, revision }
        });
        self.answered += 1;
        self.objects.insert(id, State::Known(state));
    }

    /// Holds what is stored against what is known, and learns what became of the writes that were cut off.
    pub fn compare(&mut self, stored: &BTreeMap<Id, Seen>, kill: usize) {
        for (id, state) in &mut self.objects {
            let found = stored.get(id).copied();
            match *state {
                State::Known(known) => assert_eq!(found, known, "kill {kill}: {id:?} was acknowledged"),
                State::Either { before, step } => {
                    let done = found.map(|seen| seen.step) == step;
                    assert!(
                        done || found == before,
                        "kill {kill}: {id:?} is {found:?}, not {before:?} or {step:?}"
                    );
                    *state = State::Known(found);
                }
            }
        }
    }

    /// Objects that are there, as far as the writer knows.
    pub fn present(&self) -> usize {
        self.objects.values().filter(|state| matches!(state, State::Known(Some(_)))).count()
    }
}

fn path(id: &Id) -> String {
    format!("{}/{}", id.resource.path(), id.name)
}
