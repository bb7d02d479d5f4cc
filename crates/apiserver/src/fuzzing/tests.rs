use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// What text formats are sensitive to.
const WORDS: [&[u8]; 16] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"null",
    b"-1",
    b"9223372036854775808",
    b"1e400",
    b"\\ud800",
    b"%00",
    b"/",
    b"\xff",
    b"$patch",
];

/// Runs a target on what it understands, on damaged copies of it, and on noise.
fn smoke(name: &str, target: fn(&[u8])) {
    let all = seeds();
    let seeds = &all.iter().find(|(other, _)| *other == name).unwrap().1;
    let mut random = StdRng::seed_from_u64(1);
    for seed in seeds {
        target(seed);
    }
    for _ in 0..RUNS {
        let mut bytes = seeds[random.random_range(0..seeds.len())].clone();
        for _ in 0..random.random_range(1..4) {
            damage(&mut bytes, &mut random);
        }
        target(&bytes);
        let noise: Vec<u8> = (0..random.random_range(0..64)).map(|_| random.random()).collect();
        target(&noise);
    }
}

/// Inputs of each sort for each target.
const RUNS: usize = 2_000;

fn damage(bytes: &mut Vec<u8>, random: &mut StdRng) {
    if bytes.len() < 3 {
        return;
    }
    let (from, to) = (random.random_range(0..bytes.len()), random.random_range(0..bytes.len()));
    let (from, to) = (from.min(to), to.max(from).min(from.min(to) + 64));
    match random.random_range(0..6) {
        0 => bytes[from] = random.random(),
        1 => drop(bytes.drain(from..to)),
        2 => {
            let part = bytes[from..to].to_vec();
            let at = random.random_range(0..bytes.len());
            bytes.splice(at..at, part);
        }
        3 => bytes.truncate(to.max(1)),
        _ => {
            let word = WORDS[random.random_range(0..WORDS.len())];
            bytes.splice(from..(from + word.len()).min(bytes.len()), word.iter().copied());
        }
    }
}

#[test]
fn samples_are_what_their_kinds_accept() {
    for sample in &WORLD.samples {
        let (kind, mut object) = (&sample.served.kind, sample.object.clone());
        if object.get("spec").is_none() && !["ConfigMap", "Secret", "Role"].contains(&&*kind.kind) {
            continue;
        }
        crate::kinds::convert_in(kind, &sample.served.group, &sample.served.version, &mut object);
        let shape = kind.check_shape(&mut object).unwrap();
        assert!(shape.unknown.is_empty(), "{kind:?} {:?}", shape.unknown);
        kind.prepare_create(&mut object).unwrap();
    }
}

#[test]
fn bodies() {
    smoke("body", body);
}

#[test]
fn patches() {
    smoke("patch", patch);
}

#[test]
fn selectors_of_any_text() {
    smoke("selectors", selectors);
}

#[test]
fn requests() {
    smoke("requests", request);
}

#[test]
fn entries_of_managed_fields() {
    smoke("managed_fields", managed_fields);
}

#[test]
fn definitions() {
    smoke("definition", definition);
}
