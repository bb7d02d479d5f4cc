use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets this process, and those that it starts, have as many descriptors open as it may without asking anybody, and
/// tells how many that is.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    let now = match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        // It works with fewer.
        Err(_) => before,
    };
    // `None` is as many as there are.
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_the_process_may_have() {
        let most = raise_descriptor_limit();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), most);
        assert_eq!(raise_descriptor_limit(), most);
    }
}
