//! Looks at the input and decides what the dataset's columns become.
//!
//! Contract: nothing is written. The dataset's columns (or those of a given schema) guide: input that has
//! them takes their types; the rest is inferred over the rows looked at. The plan's schema is the
//! dataset's after the import. A plan that is not whole holds only if no row of the rest would have changed it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use model::canonical::{Canonical, RECEIVED_AT};
use model::dataset::{COMMIT_COLUMN, COMMIT_TIME_COLUMN, Dataset, DatasetKind, NewDataset};
use model::ports::{Catalog, CatalogError, Import, ImportFile, InputFormat, Progress};
use model::schema::{Field, Schema, Type};
use model::{DatasetId, PortError};

use super::block::Layout;
use super::convert;
use super::error::{IngestError, Place};
use super::infer::infer;
use super::parquet::ParquetInput;
use super::receive;
use super::shape::{Fields, Mixing, Node, Resolver, Seen, Shape, check_limits};
use super::source::{self, Content, Source, TextContent};
use super::{blocking, half};
use crate::files::aside;

/// The dataset that the rows go to.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// It is there.
    Known(Box<Dataset>),
    /// It is made by the commit.
    New {
        /// The id minted for it.
        id: DatasetId,
        /// The columns given for it.
        schema: Schema,
        /// Its time column.
        time_column: Option<String>,
        /// What its rows are.
        kind: DatasetKind,
    },
}

/// One input file.
#[derive(Debug)]
pub(super) enum Input {
    Text { source: Source, text: TextContent, layout: Layout },
    Parquet { file: ParquetInput, keep: Option<&'static str> },
}

/// What will be written.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) inputs: Vec<Input>,
    /// The files' names, in order.
    pub(super) names: Vec<String>,
    /// The files' sizes.
    pub(super) bytes: Vec<u64>,
    /// The dataset's columns after the import.
    pub(super) schema: Schema,
    /// Whether every record was looked at.
    pub(super) whole: bool,
    /// Whether they are events that come in as they happen.
    is_live: bool,
}

/// How much of each text file is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth {
    /// Blocks of a file.
    pub(super) blocks: usize,
    /// Bytes of a block.
    pub(super) block_bytes: usize,
}

impl Base {
    /// Finds the dataset.
    pub(super) async fn find(catalog: &dyn Catalog, import: &Import) -> Result<Self, PortError> {
        match catalog.dataset(&import.workspace, &import.dataset).await {
            Ok(dataset) => {
                let asked = import.time_column.as_ref();
                if let Some(asked) =
                    asked.filter(|asked| dataset.time_column.as_ref() != Some(asked))
                {
                    let have = dataset.time_column.as_ref();
                    let have = have.map_or_else(
                        || "no time column".to_owned(),
                        |have| format!("the time column `{have}`"),
                    );
                    let (dataset, asked) = (dataset.name.clone(), asked.clone());
                    return Err(IngestError::OtherTimeColumn { dataset, have, asked }.into());
                }
                Ok(Self::Known(Box::new(dataset)))
            }
            Err(CatalogError::NotFound { what: "dataset", .. }) => Ok(Self::New {
                id: DatasetId::mint(),
                schema: import.schema.clone().unwrap_or_default(),
                time_column: import.time_column.clone(),
                kind: import.kind,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the canonical dataset of that name as it would be made, for an import that says nothing of columns.
    pub(super) fn canonical(import: &Import) -> Option<Self> {
        let says =
            import.schema.is_some() || import.time_column.is_some() || import.rejects.is_some();
        let NewDataset { id, kind, time_column, schema, .. } =
            Canonical::named(&import.dataset).filter(|_| !says)?.new_dataset();
        Some(Self::New { id, schema, time_column, kind })
    }

    pub(super) fn id(&self) -> &DatasetId {
        match self {
            Self::Known(dataset) => &dataset.id,
            Self::New { id, .. } => id,
        }
    }

    pub(super) fn schema(&self) -> &Schema {
        match self {
            Self::Known(dataset) => &dataset.schema,
            Self::New { schema, .. } => schema,
        }
    }

    /// Whether it is that of canonical events, and no other of its name.
    fn is_canonical_event(&self, name: &str, schema: &Schema) -> bool {
        let canonical = Canonical::named(name).filter(|one| one.kind == DatasetKind::Event);
        let has_time = |one: &Canonical| self.time_column() == Some(one.time_column);
        let received = schema.field(RECEIVED_AT).map(|field| &field.kind);
        canonical.is_some_and(has_time) && received == Some(&receive::column().kind)
    }

    pub(super) fn time_column(&self) -> Option<&str> {
        match self {
            Self::Known(dataset) => dataset.time_column.as_deref(),
            Self::New { time_column, .. } => time_column.as_deref(),
        }
    }
}

impl Plan {
    /// Looks at every file, so deep; `None` if that does not do.
    pub(super) async fn make(
        import: &Import,
        base: &Base,
        depth: Depth,
        progress: &Arc<dyn Progress>,
    ) -> Result<Option<Self>, IngestError> {
        if let Some(column) = base.time_column().filter(|column| {
            *column != RECEIVED_AT && import.receive_time.as_deref() == Some(column)
        }) {
            return Err(IngestError::ReceivedIsTime { column: column.into() });
        }
        let names: Vec<String> = import.files.iter().map(|file| file.name.clone()).collect();
        let mut look = Look {
            time_column: base
                .time_column()
                .filter(|name| base.schema().field(name).is_none_or(|f| f.kind == Type::Null)),
            received: import.receive_time.as_deref(),
            lenient: import.rejects.is_some(),
            depth,
            whole: true,
            progress,
            cells: Node::default(),
            values: Node::default(),
            times: Node::default(),
        };
        let (mut inputs, mut bytes) = (Vec::new(), Vec::new());
        for (at, file) in import.files.iter().enumerate() {
            let before = (look.values != Node::default()).then(|| look.values.size());
            let (input, size) = look.input(at, file, import.format).await?;
            inputs.push(input);
            bytes.push(size);
            // Fields that come first in the rest of an earlier file, or kinds that meet, may give other columns.
            let both = look.cells != Node::default() && look.values != Node::default();
            let grown = before.is_some_and(|size| look.values.size() > size);
            if !look.whole && (both || grown) {
                return Ok(None);
            }
        }
        let whole = look.whole;
        let schema = look.schema(&names, &inputs, base)?;
        let is_live = import.live && base.is_canonical_event(&import.dataset, &schema);
        for input in &mut inputs {
            if let Input::Parquet { file, keep } = input {
                // When rows were received is seen row by row.
                let as_it_is = import.receive_time.is_none() && !is_live;
                *keep = file.keeps(&schema).filter(|_| as_it_is);
                if keep.is_some() {
                    file.check().await?;
                }
            }
        }
        Ok(Some(Self { inputs, names, bytes, schema, whole, is_live }))
    }

    /// Returns rows as they are kept: of events that come in live their commit says when they were received.
    pub(super) fn received(&self, rows: RecordBatch) -> RecordBatch {
        if self.is_live { receive::live(rows) } else { rows }
    }
}

/// What was seen so far.
struct Look<'a> {
    /// The time column, where its type is still open.
    time_column: Option<&'a str>,
    /// The column that becomes `received_at`.
    received: Option<&'a str>,
    lenient: bool,
    depth: Depth,
    /// Whether nothing was left out so far.
    whole: bool,
    progress: &'a Arc<dyn Progress>,
    /// What CSV files hold.
    cells: Node,
    /// What JSON files hold.
    values: Node,
    /// What the time column of Parquet files holds, where it is text.
    times: Node,
}

impl Look<'_> {
    async fn input(
        &mut self,
        at: usize,
        file: &ImportFile,
        format: InputFormat,
    ) -> Result<(Input, u64), IngestError> {
        let looked = file.clone();
        let looking = aside(source::memory_bytes(file), move || source::look(&looked, format));
        let source = looking.await.map_err(IngestError::Task)??;
        let size = source.bytes;
        match &source.content {
            Content::Parquet => {
                let file = file.clone();
                let column = self.time_column.map(str::to_owned);
                let received = self.received.map(str::to_owned);
                let (file, times) = blocking(move || {
                    let mut input = ParquetInput::open(&file)?;
                    if let Some(given) = received {
                        input.receive(&given)?;
                    }
                    let times = match column {
                        Some(column) => input.times(&column, at)?,
                        None => None,
                    };
                    Ok((input, times))
                })
                .await?;
                self.times.merge(times.unwrap_or_default(), Mixing::Text);
                self.progress.add(0, half(size));
                Ok((Input::Parquet { file, keep: None }, size))
            }
            Content::Text(text) => {
                let text = text.clone();
                let layout = Layout {
                    file: at,
                    header: text.header.clone(),
                    received: self.received.map(str::to_owned),
                    lenient: self.lenient,
                };
                self.text(&source, &text, &layout).await?;
                Ok((Input::Text { source, text, layout }, size))
            }
        }
    }

    async fn text(
        &mut self,
        source: &Source,
        text: &TextContent,
        layout: &Layout,
    ) -> Result<(), IngestError> {
        let (of, column) = (layout.clone(), self.time_column.map(str::to_owned));
        let Depth { blocks: count, block_bytes } = self.depth;
        let read = source::blocks(source, text, (block_bytes, count), move |block| {
            (infer(&block, &of, column.as_deref()), block.spans.len())
        });
        let mut blocks = Box::pin(read);
        let (mut records, mut rows, mut left, mut told) = (0, 0, count, 0);
        let header = layout.header.iter().flatten();
        let mut found = self.received.map(|given| (receive::Columns::among(header, given), given));
        while let Some(next) = blocks.next().await {
            let ((inferred, count), raw) = next?;
            let (node, good) = inferred.map_err(|bad| IngestError::Record {
                place: Place { file: source.file.name.clone(), line: bad.line },
                reason: bad.reason,
            })?;
            if let Some((columns, given)) = &mut found {
                *columns = columns.or(receive::Columns::of(&node, given));
            }
            rows += good;
            let into = if layout.header.is_some() { &mut self.cells } else { &mut self.values };
            into.merge(node, layout.mixing());
            records += count;
            left -= 1;
            told += half(raw);
            self.progress.add(0, half(raw));
            check_size(into)?;
        }
        if left == 0 {
            self.whole = false;
            // What is not looked at counts as if it was.
            self.progress.add(0, half(source.bytes).saturating_sub(told));
        }
        if records == 0 && count > 0 {
            return Err(IngestError::NoRows { file: source.file.name.clone() });
        }
        // Of a file that was not looked at to its end, no row is taken without the column or with both.
        let is_known = layout.header.is_some() || (left > 0 && rows > 0);
        if let Some((columns, given)) = found.filter(|_| is_known) {
            columns.check(&source.file.name, given)?;
        }
        if let Some(header) = &layout.header {
            // A column without a single value is a column all the same.
            let mut all = Fields::default();
            for (at, name) in header.iter().enumerate() {
                all.entry(name, at);
            }
            let mut node = Node::new(Shape::Object(all), Seen { file: layout.file, line: 1 });
            node.merge(std::mem::take(&mut self.cells), Mixing::Text);
            self.cells = node;
        }
        Ok(())
    }

    /// Returns the dataset's columns after the import.
    fn schema(
        self,
        names: &[String],
        inputs: &[Input],
        base: &Base,
    ) -> Result<Schema, IngestError> {
        let Self { time_column, received, .. } = self;
        let resolver = Resolver { files: names, time_column, received };
        let mut schema = base.schema().clone();
        let of_file = |at: usize| {
            let file = names.get(at).cloned().unwrap_or_default();
            move |source| IngestError::Schema { file, source }
        };
        for (at, input) in inputs.iter().enumerate() {
            let Input::Parquet { file, .. } = input else { continue };
            let mut fields = file.fields.clone();
            for field in &mut fields {
                if self.time_column == Some(&field.name) && field.kind == Type::String {
                    field.kind = resolver.time_of(&self.times, &field.name)?;
                }
            }
            let columns = convert::columns(&schema.fields, &fields).map_err(of_file(at))?;
            Schema { fields: columns.clone() }.check_kept().map_err(of_file(at))?;
            schema = schema.evolve(&Schema { fields: columns }).map_err(of_file(at))?;
            schema = keep_nullability(schema, base.schema());
        }
        let mut node = self.cells;
        node.merge(self.values, if self.lenient { Mixing::KeepFirst } else { Mixing::Refuse });
        if let Shape::Object(fields) = &node.shape {
            let columns = resolver.columns(fields, &schema.fields)?;
            schema = schema.evolve(&Schema { fields: columns }).map_err(of_file(node.seen.file))?;
            schema = keep_nullability(schema, base.schema());
        }
        if received.is_some() {
            // It is there also where nothing was looked at.
            let columns = vec![receive::column()];
            schema = schema.evolve(&Schema { fields: columns }).map_err(of_file(0))?;
            schema = keep_nullability(schema, base.schema());
        }
        check(&schema, base)?;
        Ok(schema)
    }
}

/// A column that must have values stays so: its rows are checked one by one.
fn keep_nullability(mut schema: Schema, base: &Schema) -> Schema {
    for field in &mut schema.fields {
        if let Some(known) = base.field(&field.name) {
            field.nullable = known.nullable;
        }
    }
    schema
}

fn check_size(node: &Node) -> Result<(), IngestError> {
    if node.size() > model::limits::COLUMNS_MAX + 1 {
        return Err(IngestError::TooManyColumns);
    }
    Ok(())
}

fn check(schema: &Schema, base: &Base) -> Result<(), IngestError> {
    if schema.fields.is_empty() {
        return Err(IngestError::NoColumns);
    }
    let reserved = |field: &&Field| field.name == COMMIT_COLUMN || field.name == COMMIT_TIME_COLUMN;
    if let Some(field) = schema.fields.iter().find(reserved) {
        return Err(IngestError::Reserved { name: field.name.clone() });
    }
    check_limits(&schema.fields)?;
    let Some(column) = base.time_column() else { return Ok(()) };
    match schema.field(column).map(|field| &field.kind) {
        None => Err(IngestError::NoTimeColumn { column: column.into() }),
        Some(Type::Timestamp { .. } | Type::Date) => Ok(()),
        Some(kind) => Err(IngestError::NotATime {
            column: column.into(),
            kind: kind.to_string(),
            hint: "name another column".into(),
        }),
    }
}
