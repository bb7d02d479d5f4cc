//! Exec and attach, whatever the connection speaks.

use std::sync::Arc;

use serde_json::{Value, json};

use super::SessionError;
use crate::containers::{
    ContainerError, ContainerId, Runtime, SessionClient, SessionEnd, SessionRequest, Terminal,
};
use crate::pods::kubelet::logs::decode;
use crate::pods::ports::Failure;

/// What the query of the URL says, in kubelet's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CommandQuery {
    words: Vec<String>,
    streams: Streams,
}

/// Which streams a session has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Streams {
    /// The client sends input.
    pub(super) stdin: bool,
    /// The client wants output.
    pub(super) stdout: bool,
    /// The client wants errors, on a stream of their own.
    pub(super) stderr: bool,
    /// The client has a terminal.
    pub(super) terminal: bool,
}

/// A session with one container.
#[derive(Debug)]
pub(super) struct Command {
    container: ContainerId,
    streams: Streams,
    /// `None`: the main process.
    words: Option<Vec<String>>,
}

impl CommandQuery {
    pub(super) fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            let on = matches!(value.as_str(), "1" | "true");
            match name {
                "command" => parsed.words.push(value),
                "input" => parsed.streams.stdin = on,
                "output" => parsed.streams.stdout = on,
                "error" => parsed.streams.stderr = on,
                "tty" => parsed.streams.terminal = on,
                _ => {}
            }
        }
        // A terminal is one stream.
        parsed.streams.stderr &= !parsed.streams.terminal;
        parsed
    }
}

impl Command {
    pub(super) fn new(container: ContainerId, verb: &str, query: CommandQuery) -> Result<Self, SessionError> {
        let CommandQuery { words, streams } = query;
        if !streams.stdin && !streams.stdout && !streams.stderr {
            return Err(SessionError::Request(
                "you must specify at least 1 of stdin, stdout, stderr".to_owned(),
            ));
        }
        let words = (verb == "exec").then_some(words);
        if words.as_ref().is_some_and(Vec::is_empty) {
            return Err(SessionError::Request("you must specify at least 1 command".to_owned()));
        }
        Ok(Self { container, streams, words })
    }

    /// Which streams it has.
    pub(super) fn streams(&self) -> Streams {
        self.streams
    }

    /// Runs it to its end and says how it went, as a `metav1.Status`; `None` when nobody is there to be told.
    pub(super) async fn run(self, runtime: Arc<Runtime>, client: SessionClient) -> Option<Value> {
        let stdin = self.streams.stdin;
        let ended = match self.words {
            Some(command) => {
                let request =
                    SessionRequest { command, stdin, terminal: Terminal::from_flag(self.streams.terminal) };
                runtime.open_session(&self.container, &request, client).await
            }
            // How the main process ended stands in the pod's status, not here.
            None => runtime.attach(&self.container, stdin, client).await.map(|()| SessionEnd::Exited(0)),
        };
        match ended {
            Ok(SessionEnd::Exited(code)) => Some(exit_status(code)),
            Ok(SessionEnd::Abandoned) => None,
            Err(error) => Some(failure(&error)),
        }
    }
}

/// The end of a command, as clients since protocol version 4 read it.
fn exit_status(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// A command that did not run, as an error of the server.
fn failure(error: &ContainerError) -> Value {
    let text = format!("error executing command in container: {}", Failure::of(error).message);
    json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": format!("Internal error occurred: {text}"),
        "details": {"causes": [{"message": text}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_in_order() {
        let query = CommandQuery::parse("command=sh&command=-c&command=echo+a%26b&output=1&error=true&tty=0");
        assert_eq!(query.words, ["sh", "-c", "echo a&b"]);
        let streams = Streams { stdin: false, stdout: true, stderr: true, terminal: false };
        assert_eq!(query.streams, streams);
        assert!(!CommandQuery::parse("error=1&tty=1").streams.stderr);
    }

    #[test]
    fn impossible_sessions_are_refused() {
        let new = |verb, text| Command::new(ContainerId::random(), verb, CommandQuery::parse(text));
        assert!(new("exec", "command=sh").is_err());
        assert!(new("exec", "output=1").is_err());
        assert_eq!(new("attach", "output=1").unwrap().words, None);
    }
}
