//! What can go wrong with SQL, in words that a person can act on.
//!
//! The engine's errors are sorted into two kinds: those of planning, which the text caused, and those of
//! running, which the rows or a limit caused. The engine's own error stays the cause.

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use model::{Code, Failure, Fault};

use crate::read;

/// Why SQL cannot be planned or run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It cannot be parsed.
    #[error("the SQL text is not valid: {reason}")]
    Syntax {
        /// What the parser expected and where.
        reason: String,
        /// The cause.
        #[source]
        source: Box<DataFusionError>,
    },
    /// Something that is never allowed.
    #[error("{what} is not allowed here; write one `SELECT` over datasets and views")]
    Forbidden {
        /// What was found, in backticks where it is a name.
        what: String,
    },
    /// The text is too long.
    #[error("the SQL text has {chars} characters; {max} are allowed")]
    TooLong {
        /// Its length.
        chars: usize,
        /// The limit.
        max: usize,
    },
    /// A name that nothing has.
    #[error("no {what} `{name}`{}", hint(nearest.as_deref()))]
    Unknown {
        /// `column`, `function`, `dataset or view`.
        what: &'static str,
        /// The name.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
    /// Two result columns have one name.
    #[error("the column `{name}` appears twice in the result; give one another name with `as`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The result has a type that files cannot hold.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A view refers to itself.
    #[error("the view `{name}` refers to itself through {path}")]
    Loop {
        /// The view.
        name: String,
        /// The views between.
        path: String,
    },
    /// Too many views on top of each other.
    #[error("the view `{name}` lies more than {max} views deep; flatten some of them")]
    TooDeep {
        /// The view at which the limit was met.
        name: String,
        /// The limit.
        max: usize,
    },
    /// A function whose answer differs from call to call.
    #[error(
        "the function `{name}` gives another answer each time, so it cannot be exported; leave it out"
    )]
    Volatile {
        /// The function.
        name: String,
    },
    /// An incremental range for what has no rows of its own.
    #[error(
        "an incremental export needs rows that come one by one from one dataset, and this {shape}; \
         export it whole, or take the columns and a filter only"
    )]
    NotIncremental {
        /// What it does instead.
        shape: String,
    },
    /// There is nothing to apply a time window to.
    #[error("`{name}` has no time column, so `since` and `until` cannot apply; {advice}")]
    NoTime {
        /// The dataset or view.
        name: String,
        /// What to do.
        advice: &'static str,
    },
    /// The time column is not a time.
    #[error(
        "the time column `{column}` of `{name}` is `{kind}`, not a time; use a condition on it instead"
    )]
    NotTime {
        /// The dataset or view.
        name: String,
        /// The column.
        column: String,
        /// Its type.
        kind: String,
    },
    /// A dataset without any columns.
    #[error("the dataset `{name}` has no columns yet; import into it first")]
    NoColumns {
        /// The dataset.
        name: String,
    },
    /// Anything else that the planner refuses.
    #[error("{reason}")]
    Plan {
        /// What it said, in one line.
        reason: String,
        /// The cause.
        #[source]
        source: Box<DataFusionError>,
    },
    /// The query needs more than it may have.
    #[error(
        "the query needs more than its {memory} MiB of memory or {spill} MiB of disk; filter or \
         aggregate earlier"
    )]
    Memory {
        /// The limit.
        memory: usize,
        /// The limit.
        spill: u64,
        /// The cause.
        #[source]
        source: Box<DataFusionError>,
    },
    /// The query takes longer than it may.
    #[error("the query took longer than its {seconds} seconds; filter or aggregate earlier")]
    Time {
        /// The limit.
        seconds: f64,
    },
    /// Planning takes longer than it may.
    #[error(
        "planning the query took longer than {seconds} seconds; use fewer joins, views and `WITH` \
         queries"
    )]
    PlanningTime {
        /// The limit.
        seconds: f64,
    },
    /// Staging writes more than it may.
    #[error("the result is larger than the {bytes} bytes that may be staged; take less of it")]
    Staged {
        /// The limit.
        bytes: u64,
    },
    /// A value that a function made is too large.
    #[error("{function} would make {bytes} bytes {place}; {max} are allowed")]
    Value {
        /// The function, in backticks.
        function: String,
        /// What it would make.
        bytes: u64,
        /// `in one value`, `for one batch of rows` or `for every row`.
        place: &'static str,
        /// The limit.
        max: u64,
    },
    /// Reading a data file failed.
    #[error("{reason}")]
    Read {
        /// What the reader said.
        reason: String,
        /// The cause.
        #[source]
        source: Box<DataFusionError>,
    },
    /// The rows made it fail.
    #[error("the query failed while it ran: {reason}")]
    Run {
        /// What it said, in one line.
        reason: String,
        /// The cause.
        #[source]
        source: Box<DataFusionError>,
    },
    /// The task that ran the query died.
    #[error("the query stopped for an unknown reason; the log has more")]
    Died,
    /// Setting the engine up failed.
    #[error("could not set up the query engine: {source}")]
    Setup {
        /// The cause.
        #[source]
        source: Box<DataFusionError>,
    },
}

/// A result that no file can hold.
#[derive(Debug, thiserror::Error)]
#[error("the result cannot be written: {0}")]
pub(crate) struct OutputError(#[source] pub(crate) model::schema::Error);

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Returns what the reader says about itself.
fn read_code(error: &DataFusionError) -> Code {
    match error.find_root() {
        DataFusionError::External(inner) => {
            inner.downcast_ref::<read::Error>().map_or(Code::Internal, Failure::code)
        }
        _ => Code::Internal,
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::NotFound,
            Self::TooLong { .. }
            | Self::Memory { .. }
            | Self::Staged { .. }
            | Self::Value { .. } => Code::TooLarge,
            Self::Time { .. } | Self::PlanningTime { .. } => Code::Timeout,
            Self::Read { source, .. } => read_code(source),
            Self::Died | Self::Setup { .. } => Code::Internal,
            Self::Syntax { .. }
            | Self::Forbidden { .. }
            | Self::Duplicate { .. }
            | Self::Output(_)
            | Self::Loop { .. }
            | Self::TooDeep { .. }
            | Self::Volatile { .. }
            | Self::NotIncremental { .. }
            | Self::NoTime { .. }
            | Self::NotTime { .. }
            | Self::NoColumns { .. }
            | Self::Plan { .. }
            | Self::Run { .. } => Code::Invalid,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Memory { .. }
            | Self::Time { .. }
            | Self::PlanningTime { .. }
            | Self::Staged { .. }
            | Self::Value { .. }
            | Self::Run { .. } => Fault::Source,
            Self::Read { .. } | Self::Died | Self::Setup { .. } => Fault::Own,
            Self::Syntax { .. }
            | Self::Forbidden { .. }
            | Self::TooLong { .. }
            | Self::Unknown { .. }
            | Self::Duplicate { .. }
            | Self::Output(_)
            | Self::Loop { .. }
            | Self::TooDeep { .. }
            | Self::Volatile { .. }
            | Self::NotIncremental { .. }
            | Self::NoTime { .. }
            | Self::NotTime { .. }
            | Self::NoColumns { .. }
            | Self::Plan { .. } => Fault::Request,
        }
    }
}

impl Error {
    /// Sorts an error of parsing or planning.
    pub(crate) fn planning(error: DataFusionError) -> Self {
        if let Some(value) = value_error(&error) {
            return value;
        }
        match error.find_root() {
            DataFusionError::SQL(parser, _) => {
                let text = one_line(&parser.to_string());
                let reason = text.trim_start_matches("sql parser error: ").to_owned();
                Self::Syntax { reason, source: Box::new(error) }
            }
            DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let names = valid_fields.iter().map(|column| column.name.as_str());
                    let nearest = nearest(&field.name, names);
                    Self::Unknown { what: "column", name: field.name.clone(), nearest }
                }
                SchemaError::DuplicateUnqualifiedField { name }
                | SchemaError::DuplicateQualifiedField { name, .. } => {
                    Self::Duplicate { name: name.clone() }
                }
                SchemaError::AmbiguousReference { field } => {
                    let reason = format!(
                        "the column `{}` is in more than one table; write it as `table.{}`",
                        field.name, field.name
                    );
                    Self::Plan { reason, source: Box::new(error) }
                }
            },
            // Planning reads footers.
            DataFusionError::External(inner) if inner.is::<read::Error>() => {
                Self::Read { reason: inner.to_string(), source: Box::new(error) }
            }
            _ => Self::Plan { reason: reason(&error), source: Box::new(error) },
        }
    }

    /// Sorts an error of running.
    pub(crate) fn running(error: DataFusionError, limits: &super::Limits) -> Self {
        if let Some(value) = value_error(&error) {
            return value;
        }
        let source = Box::new(error);
        match source.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Memory {
                memory: limits.memory_bytes >> 20,
                spill: limits.spill_bytes >> 20,
                source,
            },
            DataFusionError::External(inner) if inner.is::<read::Error>() => {
                Self::Read { reason: inner.to_string(), source }
            }
            DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
                ArrowError::DivideByZero => Self::Run { reason: "division by zero".into(), source },
                ArrowError::ArithmeticOverflow(what) => {
                    Self::Run { reason: overflow(what), source }
                }
                _ => Self::Run { reason: reason(&source), source },
            },
            _ => Self::Run { reason: reason(&source), source },
        }
    }
}

/// Returns the name nearest to `name`, whatever the case of its letters, if one is near at all.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    const NEAR: f64 = 0.6;
    let wanted = name.to_lowercase();
    names
        .map(|other| {
            (strsim::normalized_damerau_levenshtein(&wanted, &other.to_lowercase()), other)
        })
        .filter(|(score, _)| *score >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, other)| other.to_owned())
}

/// Finds our own errors inside the engine's.
fn value_error(error: &DataFusionError) -> Option<Error> {
    let DataFusionError::External(inner) = error.find_root() else { return None };
    match inner.downcast_ref::<Error>()? {
        Error::Value { function, bytes, place, max } => {
            Some(Error::Value { function: function.clone(), bytes: *bytes, place, max: *max })
        }
        _ => None,
    }
}

fn reason(error: &DataFusionError) -> String {
    const PREFIXES: [&str; 9] = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "External error: ",
        "Schema error: ",
        "This feature is not implemented: ",
        "Optimizer rule 'simplify_expressions' failed caused by ",
        "Cast error: ",
        "Parser error: ",
    ];
    let text = one_line(&error.find_root().strip_backtrace());
    let mut rest = text.as_str();
    while let Some(next) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = next;
    }
    plain(rest).unwrap_or_else(|| rest.trim_end_matches('.').to_owned())
}

/// Says which number is too large.
fn overflow(what: &str) -> String {
    let what = what.trim_start_matches("Overflow happened on: ");
    format!(
        "a number is too large for its type ({what}); cast to a larger one first, such as `decimal(38, 0)` \
         or `double`"
    )
}

/// Says in our words what the engine says with its own types and signatures.
fn plain(text: &str) -> Option<String> {
    let between = |start: &str, end: &str| {
        let (_, rest) = text.split_once(start)?;
        rest.split_once(end).map(|(found, _)| found)
    };
    if let Some(call) = between("No function matches the given name and argument types '", "'") {
        return Some(format!(
            "no function takes the arguments of `{call}`; check how many there are and of which types, \
             or cast them"
        ));
    }
    if let Some(condition) =
        between("Cannot create filter with non-boolean predicate '", "' returning ")
    {
        return Some(format!(
            "the condition `{condition}` is neither true nor false; compare it with a value"
        ));
    }
    None
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
