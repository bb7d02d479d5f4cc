//! Content-addressed files.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ImageError;

/// The SHA-256 of some content, written `sha256:<64 hexadecimal digits>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Digest of these bytes.
    pub fn of(content: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(content))
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The whole text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn from_hash(hash: Sha256) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }
}

impl FromStr for Digest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
        // Lower case only: the digest becomes a file name and must have one spelling.
        match hex {
            Some(hex) if hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Self(text.to_owned()))
            }
            Some(_) | None => Err(ImageError::Malformed {
                what: format!("digest {text:?}"),
                reason: "only sha256: followed by 64 lower-case hexadecimal digits is understood".into(),
            }),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Largest manifest, index or configuration that is read into memory.
pub(super) const DOCUMENT_LIMIT: u64 = 8 << 20;

/// The blobs of one OCI layout directory.
#[derive(Clone, Debug)]
pub(super) struct Blobs {
    directory: PathBuf,
    temporary: PathBuf,
}

impl Blobs {
    /// Blobs of the layout at `root`; new ones are first written into `temporary`, on the same file system.
    pub(super) fn new(root: &Path, temporary: &Path) -> Self {
        Self { directory: root.join("blobs/sha256"), temporary: temporary.to_owned() }
    }

    /// File of a blob, whether it exists or not.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// Opens a blob without checking its content; who reads it to the end checks.
    pub(super) fn open(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ImageError::MissingBlob { digest: digest.clone() },
            _ => ImageError::Io { path, source },
        })
    }

    /// Reads a small blob and checks its digest.
    pub(super) fn read(&self, what: &str, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let mut content = Vec::new();
        self.open(digest)?
            .take(DOCUMENT_LIMIT + 1)
            .read_to_end(&mut content)
            .map_err(|source| ImageError::Io { path: self.path(digest), source })?;
        if content.len() as u64 > DOCUMENT_LIMIT {
            return Err(ImageError::Malformed { what: what.to_owned(), reason: "larger than 8 MiB".into() });
        }
        let actual = Digest::of(&content);
        if actual != *digest {
            return Err(ImageError::WrongDigest { what: what.to_owned(), expected: digest.clone(), actual });
        }
        Ok(content)
    }

    /// Stores everything that `content` gives and returns its digest and length.
    ///
    /// With `expected`, nothing is stored unless the content has that digest.
    pub(super) fn write(
        &self,
        what: &str,
        content: &mut dyn Read,
        expected: Option<&Digest>,
    ) -> Result<(Digest, u64), ImageError> {
        let mut writer = self.writer()?;
        io::copy(content, &mut writer)
            .map_err(|source| ImageError::Io { path: writer.path.clone(), source })?;
        writer.finish(what, expected)
    }

    /// A blob in the making.
    pub(super) fn writer(&self) -> Result<BlobWriter, ImageError> {
        let path = temporary_name(&self.temporary);
        let file = File::create_new(&path).map_err(|source| ImageError::Io { path: path.clone(), source })?;
        Ok(BlobWriter { file, path, hash: Sha256::new(), length: 0, directory: self.directory.clone() })
    }
}

/// A blob that is being written; it vanishes unless it is finished.
#[derive(Debug)]
pub(super) struct BlobWriter {
    file: File,
    path: PathBuf,
    hash: Sha256,
    length: u64,
    directory: PathBuf,
}

impl BlobWriter {
    /// Puts the blob in its place.
    pub(super) fn finish(self, what: &str, expected: Option<&Digest>) -> Result<(Digest, u64), ImageError> {
        let digest = Digest::from_hash(self.hash.clone());
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(ImageError::WrongDigest {
                what: what.to_owned(),
                expected: expected.clone(),
                actual: digest,
            });
        }
        let place = self.directory.join(digest.hex());
        self.file
            .sync_data()
            .and_then(|()| fs::rename(&self.path, &place))
            .map_err(|source| ImageError::Io { path: place, source })?;
        Ok((digest, self.length))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.file.write(buffer)?;
        self.hash.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // Gone already after `finish`; a leftover is swept when the store is opened next.
        let _ = fs::remove_file(&self.path);
    }
}

/// A new name in the store's directory for unfinished things; it says whose it is, so that others can sweep.
pub(super) fn temporary_name(directory: &Path) -> PathBuf {
    directory.join(format!("{}.{}", std::process::id(), uuid::Uuid::new_v4().simple()))
}

/// A reader that computes the digest of what passes through it.
pub(super) struct HashingReader<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> HashingReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    /// Reads the rest and gives the digest of everything.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Digest::from_hash(self.hash))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let empty = Digest::of(b"");
        assert_eq!(empty.hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(empty.as_str().parse::<Digest>().unwrap(), empty);
        for bad in
            ["", "sha256:", "sha512:00", &empty.as_str().to_uppercase(), "sha256:../../../../etc/passwd"]
        {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
