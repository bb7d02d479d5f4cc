//! The CRI's log format: `<RFC 3339 time> <stdout|stderr> <F|P> <text>`, P for a line that goes on. Pure.

use jiff::Timestamp;

/// Turns lines of the file into what the container wrote.
#[derive(Debug)]
pub(super) struct Formatter {
    since: Option<Timestamp>,
    timestamps: bool,
    /// The begin of a line whose end has not been read yet.
    pending: Vec<u8>,
    /// Whether the text before was a part of a line that goes on.
    inside_line: bool,
}

/// One line of the file.
struct Entry<'a> {
    time: &'a [u8],
    partial: bool,
    text: &'a [u8],
}

impl Formatter {
    pub(super) fn new(since: Option<Timestamp>, timestamps: bool) -> Self {
        Self { since, timestamps, pending: Vec::new(), inside_line: false }
    }

    /// Takes the next bytes of the file and gives what can be said now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.pending.is_empty() {
                self.line(line, &mut output);
            } else {
                let mut whole = std::mem::take(&mut self.pending);
                whole.extend_from_slice(line);
                self.line(&whole, &mut output);
            }
        }
        self.pending.extend_from_slice(rest);
        output
    }

    fn line(&mut self, line: &[u8], output: &mut Vec<u8>) {
        let Some(entry) = parse(line) else {
            // Not ours to lose: show what is there.
            output.extend_from_slice(line);
            output.push(b'\n');
            return;
        };
        if let Some(since) = self.since
            && std::str::from_utf8(entry.time).ok().and_then(|text| text.parse::<Timestamp>().ok())
                < Some(since)
        {
            return;
        }
        if self.timestamps && !self.inside_line {
            // conmon writes UTC as an offset; kubectl's users know the Z of the CRI.
            match entry.time.strip_suffix(b"+00:00") {
                Some(time) => {
                    output.extend_from_slice(time);
                    output.push(b'Z');
                }
                None => output.extend_from_slice(entry.time),
            }
            output.push(b' ');
        }
        output.extend_from_slice(entry.text);
        self.inside_line = entry.partial;
        if !entry.partial {
            output.push(b'\n');
        }
    }
}

fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = fields.next()?;
    let stream = fields.next()?;
    let tag = fields.next()?;
    let text = fields.next()?;
    if !matches!(stream, b"stdout" | b"stderr") {
        return None;
    }
    let partial = match tag.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Entry { time, partial, text })
}
