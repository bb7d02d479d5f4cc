//! How long to wait before trying again what has failed: 10 s, doubling to 300 s, as the kubelet does.

use jiff::SignedDuration;

/// The first wait.
const FIRST: i64 = 10;
/// The longest wait.
const LONGEST: i64 = 300;

/// The wait after `count` failures in a row; none after 0.
#[must_use]
pub fn after(count: u32) -> SignedDuration {
    let Some(doublings) = count.checked_sub(1) else { return SignedDuration::ZERO };
    // 2^5 times the first is beyond the longest already.
    SignedDuration::from_secs((FIRST << doublings.min(5)).min(LONGEST))
}
