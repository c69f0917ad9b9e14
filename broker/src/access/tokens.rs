//! Tokens, and the file of their hashes.
//!
//! Constraints: a token is 256 random bits, so that a plain hash of it is as hard to turn around as it gets; the file holds hashes only, and
//! nobody can make a token of one; it is replaced as a whole or not at all, by one process at a time.

use std::{
    collections::BTreeSet,
    fmt, fs,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::scope::Scope;
use crate::{
    entropy::{self, NoEntropy},
    limits,
};

/// What tokens begin with, so that whoever finds one knows what it is.
const PREFIX: &str = "waypost_";
const HASH_PREFIX: &str = "sha256:";

/// The first lines of the file.
const HEAD: &str = "\
# The tokens of a Waypost broker: what each allows, and a hash of it. `waypost token create`, `list` and `revoke` edit this
# file (comments go); a running broker takes a change over within seconds, and ends the streams of what was revoked.
";

/// A token. Neither `Debug` nor `Display` shows it, and its memory is wiped when it goes.
pub struct Token(Zeroizing<String>);

/// What is kept of a token.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

/// A token that is known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name: the principal of a session, the caller in the audit log.
    pub name: String,
    /// The hash of the token.
    pub hash: TokenHash,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// How many events a second it may publish, instead of limits.max_events_per_second; 0 for no limit.
    #[serde(default)]
    pub max_events_per_second: Option<u32>,
    /// How many streams it may have open, instead of limits.max_streams_per_token; 0 for no limit.
    #[serde(default)]
    pub max_streams: Option<u32>,
    /// When it was made, for people.
    #[serde(default)]
    pub created: String,
}

/// Every token that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensFile {
    /// In the order in which they were made.
    #[serde(default)]
    pub tokens: Vec<Entry>,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}; `waypost token create NAME --scope admin --file {path}` makes one")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It can, and is no file of tokens.
    #[error("{path} is no file of tokens: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else is writing it.
    #[error("{0} exists: another command is editing the tokens, or one was cut short; if none is running, remove it")]
    Busy(PathBuf),
    /// The change cannot be made.
    #[error("{0}")]
    Refused(String),
}

impl Token {
    /// A fresh one.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn generate() -> Result<Self, NoEntropy> {
        let bits = Zeroizing::new(entropy::key()?);
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(&bits[..]));
        Ok(Self(Zeroizing::new([PREFIX, &text].concat())))
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }

    /// The token. Not for logs or errors.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenHash {
    /// Of a token as it was presented.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Where to look for it: a part of it, which tells nothing of the token.
    #[must_use]
    pub fn place(&self) -> u64 {
        u64::from_be_bytes(*self.0.first_chunk().unwrap_or(&[0; 8]))
    }
}

/// In constant time.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenHash {
    type Err = &'static str;

    // The text does not appear in the error: it may well be the token itself.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let bytes = text.strip_prefix(HASH_PREFIX).and_then(|digits| hex::decode(digits).ok());
        let hash = bytes.and_then(|bytes| bytes.try_into().ok()).map(Self);
        hash.ok_or("a hash is \"sha256:\" and 64 hexadecimal digits; `waypost token create` makes the entry")
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not through a message of serde's, which would show the text.
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl TokensFile {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or is none. No error shows what is in it.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let text = fs::read_to_string(path).map_err(|source| TokensError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|problem| TokensError::Invalid { path: path.to_owned(), problem })
    }

    /// Reads its text.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The message alone: its context would quote lines of the file, and a token may stand where its hash should.
        let placed = |error: toml::de::Error| {
            let line = error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line}: {}", error.message())
        };
        let file: Self = toml::from_str(text).map_err(placed)?;
        let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
        for entry in &file.tokens {
            check_name(&entry.name)?;
            if !names.insert(&entry.name) {
                return Err(format!("there are two tokens {:?}; each has a name of its own", entry.name));
            }
            if !places.insert(entry.hash.place()) {
                return Err(format!("the hash of {:?} is another's as well", entry.name));
            }
        }
        Ok(file)
    }

    /// Adds a token.
    ///
    /// # Errors
    /// When its name is none or taken.
    pub fn add(&mut self, entry: Entry) -> Result<(), TokensError> {
        check_name(&entry.name).map_err(TokensError::Refused)?;
        if self.tokens.iter().any(|known| known.name == entry.name) {
            return Err(TokensError::Refused(format!("there is a token {:?} already; revoke it first, or take another name", entry.name)));
        }
        self.tokens.push(entry);
        Ok(())
    }

    /// Takes a token away.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<Entry, TokensError> {
        let Some(index) = self.tokens.iter().position(|known| known.name == name) else {
            let names: Vec<_> = self.tokens.iter().map(|entry| entry.name.as_str()).collect();
            return Err(TokensError::Refused(format!("there is no token {name:?}; known: {}", names.join(", "))));
        };
        Ok(self.tokens.remove(index))
    }

    /// Changes the file, which is made if it is not there. The change is durable when this returns.
    ///
    /// # Errors
    /// When the file cannot be read or written, somebody else writes it, or the change is refused. Then it is as it was.
    pub fn edit<T>(path: &Path, change: impl FnOnce(&mut Self) -> Result<T, TokensError>) -> Result<T, TokensError> {
        // What is linked to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut draft = path.clone().into_os_string();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        let failed = |source| TokensError::Write { path: path.clone(), source };
        let out = File::create_new(&draft).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => TokensError::Busy(draft.clone()),
            _ => failed(source),
        })?;
        let edited = Self::edit_into(&path, out, change).and_then(|done| fs::rename(&draft, &path).map(|()| done).map_err(failed));
        if edited.is_err() {
            // Nothing more can be done about it.
            let _ = fs::remove_file(&draft);
        }
        edited
    }

    fn edit_into<T>(path: &Path, mut out: File, change: impl FnOnce(&mut Self) -> Result<T, TokensError>) -> Result<T, TokensError> {
        let failed = |source| TokensError::Write { path: path.to_owned(), source };
        let mut file = if path.exists() { Self::read(path)? } else { Self::default() };
        let done = change(&mut file)?;
        if let Ok(before) = fs::metadata(path) {
            out.set_permissions(before.permissions()).map_err(failed)?;
        }
        out.write_all(file.to_string().as_bytes()).and_then(|()| out.sync_all()).map_err(failed)?;
        Ok(done)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if (1..=limits::MAX_TOKEN_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("{name:?} is no name of a token: 1 to {} of a-z, A-Z, 0-9, -, _, . and /", limits::MAX_TOKEN_NAME_BYTES))
}

/// As TOML.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        writeln!(f, "[[tokens]]\nname = {}\nhash = \"{}\"\nscopes = [", quoted(&self.name), self.hash)?;
        self.scopes.iter().try_for_each(|scope| writeln!(f, "    {},", quoted(&scope.to_string())))?;
        writeln!(f, "]")?;
        if let Some(rate) = self.max_events_per_second {
            writeln!(f, "max_events_per_second = {rate}")?;
        }
        if let Some(streams) = self.max_streams {
            writeln!(f, "max_streams = {streams}")?;
        }
        if self.created.is_empty() { Ok(()) } else { writeln!(f, "created = {}", quoted(&self.created)) }
    }
}

/// The text of the file.
impl fmt::Display for TokensFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        self.tokens.iter().try_for_each(|entry| write!(f, "\n{entry}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn entry(name: &str, token: &Token) -> Entry {
        Entry {
            name: name.to_owned(),
            hash: token.hash(),
            scopes: vec!["admin".parse().unwrap(), "publish source=a\"b type=c.*".parse().unwrap()],
            max_events_per_second: Some(5),
            max_streams: Some(7),
            created: "2026-01-31T12:00:00Z".to_owned(),
        }
    }

    #[test]
    fn the_file_round_trips_and_holds_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let (one, two) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert_ne!(one.expose(), two.expose());
        TokensFile::edit(&path, |file| file.add(entry("one", &one))).unwrap();
        TokensFile::edit(&path, |file| file.add(entry("two", &two))).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(one.expose()) && !text.contains(two.expose()), "{text}");
        assert_eq!(TokensFile::read(&path).unwrap(), TokensFile { tokens: vec![entry("one", &one), entry("two", &two)] });
        TokensFile::edit(&path, |file| file.remove("one")).unwrap();
        assert_eq!(TokensFile::read(&path).unwrap().tokens, [entry("two", &two)]);
    }

    #[test]
    fn what_is_refused_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let token = Token::generate().unwrap();
        TokensFile::edit(&path, |file| file.add(entry("one", &token))).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        let again = TokensFile::edit(&path, |file| file.add(entry("one", &token))).unwrap_err();
        assert!(again.to_string().contains("already"), "{again}");
        let nobody = TokensFile::edit(&path, |file| file.remove("two").map(drop)).unwrap_err();
        assert!(nobody.to_string().contains("known: one"), "{nobody}");
        fs::write(dir.path().join("tokens.toml.new"), "").unwrap();
        let busy = TokensFile::edit(&path, |file| file.remove("one").map(drop)).unwrap_err();
        assert!(busy.to_string().contains("tokens.toml.new"), "{busy}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }

    #[test]
    fn a_token_where_its_hash_should_be_is_not_shown() {
        let token = Token::generate().unwrap();
        let text = format!("[[tokens]]\nname = 'a'\nhash = '{}'\nscopes = []\n", token.expose());
        let problem = TokensFile::parse(&text).unwrap_err();
        assert!(problem.starts_with("line 3: ") && problem.contains("sha256:") && !problem.contains(token.expose()), "{problem}");
        assert!(!format!("{token:?}").contains(&token.expose()[8..]));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let hash = Token::generate().unwrap().hash();
        let entry = |name: &str| format!("[[tokens]]\nname = '{name}'\nhash = '{hash}'\nscopes = ['read']\n");
        for (text, says) in [
            (entry("a b"), "no name of a token"),
            (entry("a") + &entry("a"), "two tokens"),
            (entry("a") + &entry("b"), "is another's as well"),
            (entry("a").replace("'read'", "'write'"), "line 4: "),
            (entry("a") + "scope = []\n", "unknown field `scope`"),
        ] {
            let problem = TokensFile::parse(&text).unwrap_err();
            assert!(problem.contains(says), "{says}: {problem}");
        }
    }
}
