use proptest::prelude::*;
use serde_json::json;

use super::{Strategy, *};
use crate::samples::{changed, deployment};

const QUARTER: Strategy = Strategy::RollingUpdate { surge: 1, unavailable: 0 };

fn size(replicas: i32, available: i32) -> Size {
    Size { replicas, available, noted_max: None }
}

fn strategy(replicas: i32, rolling: serde_json::Value) -> Strategy {
    let of: Deployment =
        changed(&deployment(replicas), &json!({"spec": {"strategy": {"rollingUpdate": rolling}}}));
    Strategy::of(&of)
}

#[test]
fn percentages_are_rounded_for_safety() {
    assert_eq!(Strategy::of(&deployment(3)), QUARTER);
    assert_eq!(
        strategy(10, json!({"maxSurge": "25%", "maxUnavailable": "25%"})),
        Strategy::RollingUpdate { surge: 3, unavailable: 2 }
    );
    assert_eq!(
        strategy(3, json!({"maxSurge": 0, "maxUnavailable": 0})),
        Strategy::RollingUpdate { surge: 0, unavailable: 1 }
    );
    assert_eq!(
        strategy(2, json!({"maxSurge": 0, "maxUnavailable": 5})),
        Strategy::RollingUpdate { surge: 0, unavailable: 2 }
    );
    let recreate: Deployment = changed(&deployment(3), &json!({"spec": {"strategy": {"type": "Recreate"}}}));
    assert_eq!(Strategy::of(&recreate), Strategy::Recreate);
}

#[test]
fn the_new_one_grows_within_the_surge() {
    assert_eq!(grow_new(QUARTER, 3, 0, 0), 3);
    assert_eq!(grow_new(QUARTER, 3, 0, 3), 1);
    assert_eq!(grow_new(QUARTER, 3, 1, 4), 1);
    assert_eq!(grow_new(QUARTER, 3, 5, 5), 3);
}

#[test]
fn old_ones_give_way_to_what_is_available() {
    assert_eq!(shrink_old(QUARTER, 3, size(1, 0), &[size(3, 3)]), [3]);
    assert_eq!(shrink_old(QUARTER, 3, size(1, 1), &[size(3, 3)]), [2]);
    assert_eq!(shrink_old(QUARTER, 3, size(3, 3), &[size(1, 1)]), [0]);
    // Pods that never became available go at once, and do not count as available.
    assert_eq!(shrink_old(QUARTER, 3, size(1, 0), &[size(3, 3), size(1, 0)]), [3, 0]);
    // A ReplicaSet that has not followed its last change yet does not lend its surplus to the sum.
    assert_eq!(shrink_old(QUARTER, 3, size(2, 2), &[size(2, 3)]), [1]);
}

#[test]
fn a_new_size_in_the_middle_of_a_rollout_is_shared_out() {
    let noted = |replicas| Size { replicas, available: replicas, noted_max: Some(13) };
    let surge = Strategy::RollingUpdate { surge: 3, unavailable: 2 };
    assert_eq!(scale_proportionally(surge, 20, &[noted(8), noted(5)]), [14, 9]);
    assert_eq!(scale_proportionally(surge, 0, &[noted(8), noted(5)]), [0, 0]);
}

proptest! {
    /// A rollout whose ReplicaSets follow in any order and at any speed never has more pods than allowed, never fewer available
    /// than promised, and comes to its end.
    #[test]
    fn rollouts_keep_their_promises(
        wanted in 1_i32..20,
        surge in 0_i32..6,
        unavailable in 0_i32..6,
        moves in prop::collection::vec(0_u8..4, 400),
    ) {
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable.min(wanted) };
        let strategy = Strategy::RollingUpdate { surge, unavailable };
        // Asked, existing and available pods of the old and the new ReplicaSet, and the availability last reported.
        let (mut old, mut new) = ((wanted, wanted, wanted), (0, 0, 0));
        let (mut told_old, mut told_new) = (wanted, 0);
        for step in moves.into_iter().chain([0, 1, 2, 3].into_iter().cycle().take(800)) {
            match step {
                0 => {
                    let grown = grow_new(strategy, wanted, new.0, new.0 + old.0);
                    if grown == new.0 {
                        old.0 = shrink_old(strategy, wanted, size(new.0, told_new), &[size(old.0, told_old)])[0];
                    }
                    new.0 = grown;
                }
                1 => (old.1, old.2) = (old.0, old.2.min(old.0)),
                2 if new.1 < new.0 => new.1 += 1,
                2 => new.2 = new.1,
                _ => (told_old, told_new) = (old.2, new.2),
            }
            prop_assert!(new.0 + old.0 <= wanted + surge);
            prop_assert!(new.2 + old.2 >= wanted - unavailable, "{old:?} {new:?}");
        }
        prop_assert_eq!((old.0, new), (0, (wanted, wanted, wanted)));
    }

    /// Sharing out a new size gives exactly that size.
    #[test]
    fn shares_add_up(wanted in 0_i32..50, sizes in prop::collection::vec(1_i32..30, 2..5)) {
        let mut sizes = sizes;
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let total: i32 = sizes.iter().sum();
        let sizes: Vec<Size> =
            sizes.iter().map(|replicas| Size { replicas: *replicas, available: 0, noted_max: Some(total) }).collect();
        let next = scale_proportionally(Strategy::RollingUpdate { surge: 2, unavailable: 0 }, wanted, &sizes);
        prop_assert_eq!(next.iter().sum::<i32>(), if wanted == 0 { 0 } else { wanted + 2 });
        prop_assert!(next.iter().all(|replicas| *replicas >= 0));
    }
}
