//! Where the broker is, and how its lists are asked for.
//!
//! Constraint: a list that was cut says so: for people after their table, for a program never, since it is cut only where it asked.

use crate::{
    cli::{
        args::BrokerArgs,
        connection::{self, Connection},
        failure::Failure,
        output,
        types::Types,
    },
    limits,
};
use prost::{Message, Name};

/// How many items people are shown unless they ask for more.
const SHOWN: usize = 200;

/// Where the broker is, and how to print.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminArgs {
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// JSON for programs: one object a line, names as in the protobuf JSON mapping
    #[arg(long, global = true)]
    pub json: bool,
}

/// How much of a list.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// How many at most; without it 200, and with --json all
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<usize>,
}

/// A connection to the admin listener, and what is needed to print.
pub struct Call {
    /// The connection.
    pub channel: Connection,
    /// The types.
    pub types: Types,
    json: bool,
}

impl Call {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn open(args: &AdminArgs) -> Result<Self, Failure> {
        let channel = connection::admin(&args.broker).await?;
        Ok(Self { channel, types: Types::built_in(&args.broker)?, json: args.json })
    }

    /// Prints one message: as JSON, or as people are shown it.
    ///
    /// # Errors
    /// When it cannot be mapped, which a test rules out.
    pub fn show<M: Message + Name>(&self, message: &M, people: impl FnOnce(&M) -> String) -> Result<(), Failure> {
        if self.json {
            output::line(self.types.mapped(message)?);
        } else {
            output::line(people(message));
        }
        Ok(())
    }

    /// Whether a program reads.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a list: `page` is asked for so many items after a token, and answers with the items and the next token; `table` is
    /// how people are shown all of them.
    ///
    /// # Errors
    /// Those of `page`.
    pub async fn list<M: Message + Name>(
        &self,
        args: &ListArgs,
        page: impl AsyncFnMut(u32, String) -> Result<(Vec<M>, String), Failure>,
        table: impl FnOnce(&[M]) -> String,
    ) -> Result<(), Failure> {
        let limit = args.limit.unwrap_or(if self.json { usize::MAX } else { SHOWN });
        let mut shown = Vec::new();
        let more = each(limit, page, |item| {
            if self.json {
                return Ok(output::line(self.types.mapped(&item)?));
            }
            shown.push(item);
            Ok(true)
        })
        .await?;
        if !self.json {
            output::line(table(&shown));
            if more {
                eprintln!("there are more; --limit shows them");
            }
        }
        Ok(())
    }
}

/// Visits the items of a list, at most `limit`, until the visitor has enough. Whether there are more.
///
/// # Errors
/// Those of `page` and of the visitor.
pub async fn each<T>(
    limit: usize,
    mut page: impl AsyncFnMut(u32, String) -> Result<(Vec<T>, String), Failure>,
    mut visit: impl FnMut(T) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let (mut left, mut token) = (limit, String::new());
    loop {
        let size = u32::try_from(left).unwrap_or(u32::MAX).clamp(1, limits::MAX_PAGE);
        let (items, next) = page(size, token).await?;
        for item in items {
            if left == 0 {
                return Ok(true);
            }
            left -= 1;
            if !visit(item)? {
                return Ok(false);
            }
        }
        if next.is_empty() || left == 0 {
            return Ok(!next.is_empty());
        }
        token = next;
    }
}

/// The name of an enum's value without what all of them begin with, in lower case: `max_attempts`.
#[must_use]
pub fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).trim_start_matches('_').to_lowercase()
}

/// The inverse, for an argument: `all` names what is allowed.
///
/// # Errors
/// When it is none of them.
pub fn from_word<T: Copy>(text: &str, prefix: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    let known = |value: &T| word(name(*value), prefix);
    let found = all.iter().find(|value| known(value) == text.replace('-', "_"));
    found.copied().ok_or_else(|| format!("use one of {}", all.iter().map(known).collect::<Vec<_>>().join(", ")))
}
