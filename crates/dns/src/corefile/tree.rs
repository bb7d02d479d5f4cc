//! Blocks and directives, with imports and snippets put in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Sources;
use super::error::{CorefileError, Place};
use super::lexer::{self, Token};

/// Imports inside imports; more are a circle.
const DEEPEST: usize = 10;

const BRACES: &str = "a brace opens at the end of a line and closes on a line of its own";

/// One line of a block: a name, its arguments, and the lines in braces behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: Token,
    pub(super) arguments: Vec<Token>,
    pub(super) body: Vec<Vec<Token>>,
}

/// Zones and what happens in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) keys: Vec<Token>,
    pub(super) directives: Vec<Directive>,
}

/// The blocks of a file and of those that it imports.
pub(super) fn read(path: &Path, sources: &dyn Sources) -> Result<Vec<Block>, CorefileError> {
    let mut reader = Reader { sources, snippets: BTreeMap::new(), depth: 0 };
    let lines = reader.file(path, &Place { file: path.into(), line: 1 })?;
    let blocks = reader.blocks(lines)?;
    if blocks.is_empty() {
        return Err(
            Place { file: path.into(), line: 1 }.error("there is no server block, such as `.:53 { … }`")
        );
    }
    Ok(blocks)
}

type Lines = Vec<Vec<Token>>;

struct Reader<'a> {
    sources: &'a dyn Sources,
    snippets: BTreeMap<String, Lines>,
    depth: usize,
}

impl Reader<'_> {
    /// The lines of a file; `place` is where it is asked for.
    fn file(&self, path: &Path, place: &Place) -> Result<Lines, CorefileError> {
        let text = self
            .sources
            .read(path)
            .map_err(|error| place.error(format!("cannot read {}: {error}", path.display())))?;
        lexer::lines(&Arc::from(path), &text, self.sources)
    }

    fn blocks(&mut self, lines: Lines) -> Result<Vec<Block>, CorefileError> {
        let mut blocks = Vec::new();
        let mut lines = lines.into_iter();
        while let Some(mut line) = lines.next() {
            if line[0].is("import") {
                let imported = self.import(&line)?;
                self.depth += 1;
                blocks.extend(self.blocks(imported)?);
                self.depth -= 1;
                continue;
            }
            // Keys may go on behind a comma at the end of a line.
            while line.last().is_some_and(|last| !last.quoted && last.text.ends_with(',')) {
                match lines.next() {
                    Some(more) => line.extend(more),
                    None => break,
                }
            }
            let Some(open) = line.pop_if(|last| last.is("{")) else {
                if let Some(brace) = line.iter().find(|token| token.is("{") || token.is("}")) {
                    return Err(brace.error(BRACES));
                }
                let name = &line[0];
                return Err(name.error(format!(
                    "'{}' stands outside any server block: a block is `ZONE {{`, its lines, and `}}`",
                    name.text
                )));
            };
            let body = body(&open, &mut lines)?;
            match line.as_slice() {
                [] => return Err(open.error("a server block needs a zone in front of it, such as `.:53 {`")),
                [name] if name.text.starts_with('(') && name.text.ends_with(')') && !name.quoted => {
                    let inner = name.text.trim_matches(['(', ')']).to_owned();
                    self.snippets.insert(inner, body);
                }
                _ => {
                    let directives = self.directives(body)?;
                    blocks.push(Block { keys: line, directives });
                }
            }
        }
        Ok(blocks)
    }

    fn directives(&mut self, lines: Lines) -> Result<Vec<Directive>, CorefileError> {
        let mut directives = Vec::new();
        let mut lines = lines.into_iter();
        while let Some(mut line) = lines.next() {
            if line[0].is("import") {
                let imported = self.import(&line)?;
                self.depth += 1;
                directives.extend(self.directives(imported)?);
                self.depth -= 1;
                continue;
            }
            let open = line.pop_if(|last| last.is("{"));
            let body = open.map(|open| body(&open, &mut lines)).transpose()?.unwrap_or_default();
            let mut words = line.into_iter();
            // A line has a word, and one that was only a brace has none left.
            let Some(name) = words.next() else { continue };
            directives.push(Directive { name, arguments: words.collect(), body });
        }
        Ok(directives)
    }

    /// The lines that an import stands for: of a snippet, or of the files that a pattern names.
    fn import(&mut self, line: &[Token]) -> Result<Lines, CorefileError> {
        let [import, what] = line else {
            return Err(line[0].error("import takes one thing: a snippet's name, a file, or a pattern"));
        };
        if self.depth >= DEEPEST {
            return Err(import.error(format!("imports are nested deeper than {DEEPEST}: they form a circle")));
        }
        if let Some(lines) = self.snippets.get(&what.text) {
            return Ok(lines.clone());
        }
        let path = import.place.file.parent().unwrap_or(Path::new(".")).join(&what.text);
        if !what.text.contains('*') {
            return self.file(&path, &import.place);
        }
        let files: Vec<PathBuf> = self
            .sources
            .matching(&path)
            .map_err(|error| import.error(format!("cannot look for {}: {error}", path.display())))?;
        let mut lines = Vec::new();
        for file in files {
            lines.extend(self.file(&file, &import.place)?);
        }
        Ok(lines)
    }
}

/// The lines up to the brace that closes `open`; braces inside stay.
fn body(open: &Token, lines: &mut std::vec::IntoIter<Vec<Token>>) -> Result<Lines, CorefileError> {
    let mut body = Vec::new();
    let mut depth = 1;
    for line in lines.by_ref() {
        if line[0].is("}") {
            depth -= 1;
            if let Some(behind) = line.get(1) {
                return Err(behind.error("nothing may stand behind `}` on its line"));
            }
            if depth == 0 {
                return Ok(body);
            }
        }
        let opens = line.last().is_some_and(|last| last.is("{"));
        if !opens && let Some(brace) = line.iter().skip(1).find(|token| token.is("{") || token.is("}")) {
            return Err(brace.error(BRACES));
        }
        depth += usize::from(opens);
        body.push(line);
    }
    Err(open.error("the block that begins here is not closed: a `}` is missing"))
}
