//! Data files: one row each, from the commit that added it to the one that removed it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use model::dataset::{Commit, CommitKind, CommitRun, DataFile, NewCommit, NewFile, Removal};
use model::ports::CatalogError;
use model::{BatchId, CommitNumber, DatasetId, FileId, ObjectKey, SchemaId};

use super::{tail, texts};
use crate::database::{Error, Row, Transaction, Value, args};

/// Values of one row in [`insert`].
const COLUMNS: usize = 18;

/// The columns of a data file.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, dataset, batch, object_key, schema_id, row_count, byte_count, sha256,
                 codec, added, place, removed, runs, statistics, in_tail, first_commit
             FROM data_file ",
            $tail
        )
    };
}

/// What files that ended came to.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) files: u64,
    pub(super) rows: u64,
    /// The least commit from which on one of them stood for its rows.
    since: Option<CommitNumber>,
    /// When the rows of merged files end, if they do.
    until: Option<CommitNumber>,
}

/// Ends the files that a commit removes. Those that a compaction has merged leave every snapshot.
pub(super) async fn end(
    tx: &mut Transaction,
    new: &NewCommit,
    (number, time): (CommitNumber, DateTime<Utc>),
) -> Result<Ended, CatalogError> {
    let dataset = new.dataset.as_str();
    let rows = match &new.remove {
        Removal::Nothing => return Ok(Ended::default()),
        Removal::All => {
            let sql = "UPDATE data_file SET removed = $2 WHERE dataset = $1 AND removed IS NULL
                       RETURNING row_count, added, removed";
            tx.all(sql, args![dataset, number.0]).await?
        }
        Removal::Files(ids) => {
            let ids: Vec<Value> = ids.iter().map(|id| id.as_str().into()).collect();
            let rows = if new.kind == CommitKind::Compact {
                retire(tx, new, &ids, (number, time)).await?
            } else {
                let sql = "UPDATE data_file SET removed = $2
                           WHERE dataset = $1 AND removed IS NULL AND id IN ({})
                           RETURNING row_count, added, removed";
                tx.all_among(sql, args![dataset, number.0], &ids).await?
            };
            // Somebody else ended one of them first.
            if rows.len() < ids.len() {
                return Err(CatalogError::Moved);
            }
            rows
        }
    };
    Ended::of(&rows)
}

impl Ended {
    fn of(rows: &[Row]) -> Result<Self, CatalogError> {
        let mut ended = Self { files: rows.len() as u64, ..Self::default() };
        let mut until = BTreeSet::new();
        for row in rows {
            let added = CommitNumber(row.count("added")?);
            ended.rows += row.count::<u64>("row_count")?;
            ended.since = Some(ended.since.map_or(added, |since| since.min(added)));
            until.insert(row.int_or_null("removed")?);
        }
        // One file cannot stand for rows that end at different commits.
        if until.len() > 1 {
            return Err(CatalogError::Moved);
        }
        let until = until.pop_first().flatten().and_then(|until| u64::try_from(until).ok());
        Ok(Self { until: until.map(CommitNumber), ..ended })
    }
}

/// Takes files out of the catalog and keeps their names for whoever deletes them; what is in the tail is gone.
async fn retire(
    tx: &mut Transaction,
    new: &NewCommit,
    ids: &[Value],
    (number, time): (CommitNumber, DateTime<Utc>),
) -> Result<Vec<Row>, Error> {
    let sql = "DELETE FROM data_file WHERE dataset = $1 AND id IN ({})
               RETURNING id, object_key, byte_count, row_count, added, removed, in_tail";
    let rows = tx.all_among(sql, args![new.dataset.as_str()], ids).await?;
    let (mut retired, mut tail) = (Vec::new(), Vec::new());
    for row in &rows {
        if row.int("in_tail")? == 1 {
            tail.push(row.text("id")?.into());
        } else {
            let (key, bytes) = (row.text("object_key")?, row.int("byte_count")?);
            retired.extend_from_slice(args![key, new.workspace.as_str(), bytes, number.0, time]);
        }
    }
    let sql = "INSERT INTO retired_file (object_key, workspace, byte_count, retired, retired_at)";
    tx.insert(sql, 5, &retired, "").await?;
    tail::forget(tx, &tail).await?;
    tail::leave(tx, new.dataset.as_str(), &rows).await?;
    Ok(rows)
}

/// Lists files as added by a commit. Rows that are only written anew keep their commits; merged ones are in
/// every snapshot that showed what they are merged from.
pub(super) async fn insert(
    tx: &mut Transaction,
    commits: &[(&NewCommit, &Commit)],
    ended: &Ended,
) -> Result<(), Error> {
    let sql = "INSERT INTO data_file (id, dataset, batch, object_key, schema_id, row_count,
               byte_count, sha256, codec, added, removed, written, first_commit, last_commit,
               place, runs, statistics, in_tail)";
    let mut values = Vec::new();
    for (new, commit) in commits {
        let merges = new.kind == CommitKind::Compact;
        let added = ended.since.filter(|_| merges).unwrap_or(commit.number);
        let removed = ended.until.filter(|_| merges);
        for file in &new.files {
            values.extend_from_slice(&row(new, commit, file, (added, removed)));
        }
    }
    tx.insert(sql, COLUMNS, &values, "").await?;
    Ok(())
}

fn row(
    new: &NewCommit,
    commit: &Commit,
    file: &NewFile,
    (added, removed): (CommitNumber, Option<CommitNumber>),
) -> [Value; COLUMNS] {
    let own = [CommitRun { commit: commit.number, time: commit.time, first_row: 0 }];
    let runs = if file.runs.is_empty() { &own[..] } else { &file.runs };
    let first = runs.first().map_or(commit.number, |run| run.commit);
    let last = runs.last().map_or(commit.number, |run| run.commit);
    let runs = serde_json::to_string(runs).expect("runs have only string keys");
    let statistics = serde_json::to_string(&file.statistics).expect("only string keys");
    let row: &[Value; COLUMNS] = args![
        file.id.as_str(),
        new.dataset.as_str(),
        file.batch.as_str(),
        file.key.as_str(),
        file.schema_id.as_str(),
        file.rows,
        file.bytes,
        &file.sha256,
        &file.codec,
        added.0,
        removed.map(|commit| commit.0),
        commit.number.0,
        first.0,
        last.0,
        file.place,
        runs,
        statistics,
        u32::from(file.tail.is_some()),
    ];
    row.clone()
}

/// Refuses files that were taken for leftovers, because they waited too long for their commit.
pub(super) async fn check_not_swept<'a>(
    tx: &mut Transaction,
    files: impl Iterator<Item = &'a NewFile>,
) -> Result<(), CatalogError> {
    let objects = files.filter(|file| file.tail.is_none());
    let keys: Vec<Value> = objects.map(|file| file.key.as_str().into()).collect();
    let sql = "SELECT object_key FROM retired_file WHERE object_key IN ({})";
    match tx.all_among(sql, &[], &keys).await?.first() {
        None => Ok(()),
        Some(row) => Err(CatalogError::Swept { file: ObjectKey::new(row.text("object_key")?) }),
    }
}

/// Refuses files with a schema that the dataset never had: nobody could read them.
pub(super) async fn check_schemas(
    tx: &mut Transaction,
    dataset: &DatasetId,
    files: &[NewFile],
) -> Result<(), Error> {
    let sql = "SELECT id FROM dataset_schema WHERE dataset = $1";
    let rows = tx.all(sql, args![dataset.as_str()]).await?;
    let known: BTreeSet<_> = texts(&rows, "id")?.into_iter().collect();
    match files.iter().find(|file| !known.contains(file.schema_id.as_str())) {
        None => Ok(()),
        Some(file) => Err(Error::UnknownSchema {
            file: file.id.to_string(),
            schema: file.schema_id.to_string(),
        }),
    }
}

/// Returns the commit that wrote the file, if it is one of the dataset's.
pub(super) async fn written(
    tx: &mut Transaction,
    dataset: &DatasetId,
    id: &FileId,
) -> Result<Option<CommitNumber>, Error> {
    let sql = "SELECT CASE WHEN written > 0 THEN written ELSE added END AS number
               FROM data_file WHERE id = $1 AND dataset = $2";
    let row = tx.first(sql, args![id.as_str(), dataset.as_str()]).await?;
    row.map(|row| row.count("number").map(CommitNumber)).transpose()
}

/// Returns the files alive at the commit `at` with rows of commits after `from`, by first commit, then arrival.
pub(super) async fn alive(
    tx: &mut Transaction,
    dataset: &DatasetId,
    (from, at): (CommitNumber, CommitNumber),
) -> Result<Vec<DataFile>, Error> {
    // In two halves, each with its part of the index of `removed`, so that files which ended long ago are not
    // looked at; the plus keeps that of `added` out.
    let all = concat!(
        select!("WHERE dataset = $1 AND removed IS NULL AND +added <= $2 UNION ALL "),
        select!(
            "WHERE dataset = $1 AND removed > $2 AND +added <= $2 ORDER BY first_commit, place"
        )
    );
    let some = select!(
        "WHERE dataset = $1 AND added <= $2 AND (removed IS NULL OR removed > $2)
             AND last_commit > $3
         ORDER BY first_commit, place"
    );
    let values = args![dataset.as_str(), at.0, from.0];
    let rows = match from.0 {
        0 => tx.all(all, &values[..2]).await?,
        _ => tx.all(some, values).await?,
    };
    rows.iter().map(read).collect()
}

/// Returns data files of a dataset by id, whether their rows have ended or not; none of the tail.
pub(super) async fn page(
    tx: &mut Transaction,
    dataset: &DatasetId,
    after: Option<&FileId>,
    limit: u32,
) -> Result<Vec<DataFile>, Error> {
    let sql = select!("WHERE dataset = $1 AND in_tail = 0 AND id > $2 ORDER BY id LIMIT $3");
    let after = after.map_or("", FileId::as_str);
    let rows = tx.all(sql, args![dataset.as_str(), after, limit]).await?;
    rows.iter().map(read).collect()
}

/// Returns the files in the tail, by first commit, then arrival.
pub(super) async fn in_tail(
    tx: &mut Transaction,
    dataset: &DatasetId,
) -> Result<Vec<DataFile>, Error> {
    let sql = select!("WHERE dataset = $1 AND in_tail = 1 ORDER BY first_commit, place");
    let rows = tx.all(sql, args![dataset.as_str()]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<DataFile, Error> {
    let removed = row.int_or_null("removed")?;
    let removed = removed.map(|_| row.count("removed").map(CommitNumber)).transpose()?;
    Ok(DataFile {
        id: FileId::new(row.text("id")?),
        dataset: DatasetId::new(row.text("dataset")?),
        batch: BatchId::new(row.text("batch")?),
        key: ObjectKey::new(row.text("object_key")?),
        schema_id: SchemaId::new(row.text("schema_id")?),
        rows: row.count("row_count")?,
        bytes: row.count("byte_count")?,
        sha256: row.text("sha256")?,
        codec: row.text("codec")?,
        added: CommitNumber(row.count("added")?),
        place: row.count("place")?,
        removed,
        runs: row.json("runs")?,
        statistics: row.json("statistics")?,
        in_tail: row.int("in_tail")? == 1,
    })
}
