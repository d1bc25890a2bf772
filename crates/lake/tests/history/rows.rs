//! The model: every row that ever was, in order.

/// A row and its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The value of the first column; no two rows share one.
    pub(crate) n: i64,
    /// The value of the column that came later.
    pub(crate) w: Option<i64>,
    /// When it happened, in seconds since 1970.
    pub(crate) at: Option<i64>,
    /// The value of a column that has only nulls at first.
    pub(crate) z: Option<i64>,
    /// The commit that added it.
    pub(crate) commit: u64,
    /// When that was, in seconds since 1970.
    pub(crate) committed: i64,
    /// The commit that ended it.
    pub(crate) ended: Option<u64>,
}

/// A row as it is read: without its times.
pub(crate) type Read = (i64, Option<i64>, Option<i64>, u64);

/// What there is of a dataset.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) all: Vec<Row>,
}

impl Rows {
    /// Returns the rows added in `(from, to]` and alive at `to`, as they are read.
    pub(crate) fn between(&self, from: u64, to: u64) -> Vec<Read> {
        let alive = |row: &&Row| {
            row.commit > from && row.commit <= to && row.ended.is_none_or(|ended| ended > to)
        };
        self.all.iter().filter(alive).map(|row| (row.n, row.w, row.z, row.commit)).collect()
    }

    /// Ends some of the living rows.
    pub(crate) fn end(&mut self, at: u64, of: impl Fn(&Row) -> bool) {
        for row in self.all.iter_mut().filter(|row| row.ended.is_none() && of(row)) {
            row.ended = Some(at);
        }
    }
}
