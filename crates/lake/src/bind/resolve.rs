//! From names to tables and views.
//!
//! A text may name datasets and views; views may name others. Everything that is named is looked up once,
//! at one snapshot, and comes out in the order in which it can be registered.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::DataType;
use model::dataset::{COMMIT_COLUMN, COMMIT_TIME_COLUMN, Snapshot, View, Window};
use model::ports::{Bind, Stage};
use model::relation::{BoundRelation, BoundView, Selection, Source};
use model::{CommitNumber, PortError, WorkspaceId, limits};

use super::window;
use crate::Lake;
use crate::session::{DatasetTable, Error, Session, Text, condition, nearest, quote, select_list};
use crate::tail::Reader;

/// The name of a SQL text that a selection is made from. No dataset and no view can have it.
const QUERY: &str = "SQL text";

/// What stands before the name of a dataset in that of all its rows, where the name itself means those
/// in a window. No dataset and no view can have such a name.
const ALL: &str = "all ";

/// A dataset that is read.
#[derive(Clone)]
pub(crate) struct Table {
    /// The name under which the engine knows it.
    pub(crate) registered: String,
    /// Its rows and columns.
    pub(crate) snapshot: Snapshot,
    /// Where they are read.
    pub(crate) reader: Reader,
    /// Whether a text mentions a virtual column.
    pub(crate) virtual_columns: bool,
}

/// A view that is read.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedView {
    /// Its name.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: Text,
}

impl ResolvedView {
    /// Returns it as plain data.
    pub(crate) fn bound(&self) -> BoundView {
        BoundView { name: self.name.clone(), sql: self.text.to_string() }
    }
}

/// All that a text reads.
#[derive(Clone, Default)]
pub(crate) struct Resolved {
    /// The datasets.
    pub(crate) tables: Vec<Table>,
    /// The views, innermost first.
    pub(crate) views: Vec<ResolvedView>,
}

/// What exists, and of which commits it is looked at.
struct Names {
    workspace: WorkspaceId,
    range: (CommitNumber, Option<CommitNumber>),
    /// Whether rows of the tail are going to be read.
    reads: bool,
    datasets: Vec<String>,
    views: Vec<View>,
}

impl Lake {
    /// Resolves a relation into one text over tables and views.
    pub(crate) async fn resolve_relation(
        &self,
        bind: &Bind,
    ) -> Result<(Resolved, Text), PortError> {
        let range = (bind.from, Some(bind.to));
        let names = self.names(&bind.workspace, range, bind.stage == Stage::Check).await?;
        let selection = &bind.relation.selection;
        let (name, mut resolved) = match &bind.relation.source {
            Source::Dataset(name) => {
                // Asked for by name, so a missing dataset is the catalog's to explain.
                let (snapshot, reader) = self.open(&names, name).await?;
                if snapshot.dataset.schema.fields.is_empty() {
                    return Err(Error::NoColumns { name: name.clone() }.into());
                }
                let registered = name.clone();
                let table = Table { registered, snapshot, reader, virtual_columns: false };
                (name.as_str(), Resolved { tables: vec![table], views: Vec::new() })
            }
            Source::View(name) => {
                if !names.views.iter().any(|view| view.name == *name) {
                    // Missing, so the catalog's to explain.
                    self.catalog.view(&bind.workspace, name).await?;
                }
                let mut resolved = Resolved::default();
                self.resolve(&names, name, &mut resolved).await?;
                (name.as_str(), resolved)
            }
            Source::Sql(sql) => {
                let text = Text::parse(sql)?;
                let mut resolved = Resolved::default();
                self.resolve_text(&names, &text, &mut resolved).await?;
                if *selection == Selection::default() {
                    return Ok(finish(resolved, text)?);
                }
                resolved.views.push(ResolvedView { name: QUERY.into(), text });
                (QUERY, resolved)
            }
        };
        let conditions = self.conditions(bind, &names, &mut resolved).await?;
        let text = compose(name, &bind.relation, &resolved, conditions)?;
        Ok(finish(resolved, text)?)
    }

    /// Resolves one text at the head, or at a commit.
    pub(crate) async fn resolve_sql(
        &self,
        workspace: &WorkspaceId,
        sql: &str,
        own: Option<&str>,
    ) -> Result<(Resolved, Text), PortError> {
        let head = self.catalog.head(workspace).await?.map(|(number, _)| number);
        let names = self.names(workspace, (CommitNumber(0), head), true).await?;
        let text = Text::parse(sql)?;
        let mut resolved = Resolved::default();
        if let Some(name) = own
            && text.tables()?.iter().any(|table| table == name)
        {
            return Err(Error::Loop { name: name.into(), path: format!("`{name}`") }.into());
        }
        self.resolve_text(&names, &text, &mut resolved).await?;
        if let Some(name) = own
            && resolved.views.iter().any(|view| view.name == name)
        {
            return Err(Error::Loop { name: name.into(), path: "another view".into() }.into());
        }
        Ok(finish(resolved, text)?)
    }

    async fn names(
        &self,
        workspace: &WorkspaceId,
        range: (CommitNumber, Option<CommitNumber>),
        reads: bool,
    ) -> Result<Names, PortError> {
        let datasets = self.catalog.datasets(workspace).await?;
        let mut views = self.catalog.views(workspace).await?;
        let datasets: Vec<_> = datasets.into_iter().map(|dataset| dataset.name).collect();
        for own in &*self.views {
            if !datasets.contains(&own.name) && views.iter().all(|view| view.name != own.name) {
                views.push(own.clone());
            }
        }
        Ok(Names { workspace: workspace.clone(), range, reads, datasets, views })
    }

    async fn open(&self, names: &Names, name: &str) -> Result<(Snapshot, Reader), PortError> {
        if names.reads {
            return Ok(self.look(&names.workspace, name, names.range).await?);
        }
        let snapshot = self.catalog.snapshot_since(&names.workspace, name, names.range).await?;
        Ok((snapshot, self.reader.clone()))
    }

    async fn resolve_text(
        &self,
        names: &Names,
        text: &Text,
        resolved: &mut Resolved,
    ) -> Result<(), PortError> {
        for table in text.tables()? {
            self.resolve(names, &table, resolved).await?;
        }
        Ok(())
    }

    /// Resolves a name and all that it leads to, without recursion of its own: views are opened on a
    /// stack, and closed once what they name is there.
    async fn resolve(
        &self,
        names: &Names,
        name: &str,
        resolved: &mut Resolved,
    ) -> Result<(), PortError> {
        let mut open: Vec<(String, Text, Vec<String>)> = Vec::new();
        let mut next = Some(name.to_owned());
        loop {
            if let Some(name) = next.take()
                && !resolved.knows(&name)
            {
                if let Some(view) = names.views.iter().find(|view| view.name == name) {
                    check_path(&open, &name)?;
                    let text = Text::parse(&view.sql)?;
                    let wanted = text.tables()?;
                    open.push((name, text, wanted));
                } else {
                    self.resolve_dataset(names, name, resolved).await?;
                }
            }
            let Some((_, _, wanted)) = open.last_mut() else { return Ok(()) };
            next = wanted.pop();
            if next.is_none()
                && let Some((name, text, _)) = open.pop()
            {
                resolved.views.push(ResolvedView { name, text });
            }
        }
    }

    async fn resolve_dataset(
        &self,
        names: &Names,
        name: String,
        resolved: &mut Resolved,
    ) -> Result<(), PortError> {
        if !names.datasets.contains(&name) {
            let all = names.datasets.iter().chain(names.views.iter().map(|view| &view.name));
            let nearest = nearest(&name, all.map(String::as_str));
            return Err(Error::Unknown { what: "dataset or view", name, nearest }.into());
        }
        let (snapshot, reader) = self.open(names, &name).await?;
        let table = Table { registered: name, snapshot, reader, virtual_columns: false };
        resolved.tables.push(table);
        Ok(())
    }

    /// Returns the window as conditions on the outermost rows; a window on the rows that go into a view
    /// becomes a filtered view in place of each of its datasets.
    async fn conditions(
        &self,
        bind: &Bind,
        names: &Names,
        resolved: &mut Resolved,
    ) -> Result<Vec<String>, PortError> {
        let selection = &bind.relation.selection;
        if selection.since.is_none() && selection.until.is_none() {
            return Ok(Vec::new());
        }
        match &bind.relation.source {
            Source::Dataset(name) => {
                let table = resolved.tables.first().expect("resolved before");
                Ok(on_table(selection, name, table)?)
            }
            Source::View(name) => {
                let view = names.views.iter().find(|view| view.name == *name);
                let view = view.expect("looked up before");
                match view.window {
                    Window::Input => narrow(selection, resolved).map(|()| Vec::new()),
                    Window::Output => Ok(on_view(bind, view, resolved).await?),
                }
            }
            Source::Sql(_) => Err(Error::NoTime {
                name: "the SQL text".into(),
                advice: "put the condition into the text",
            }
            .into()),
        }
    }
}

impl Resolved {
    fn knows(&self, name: &str) -> bool {
        self.views.iter().any(|view| view.name == name)
            || self.tables.iter().any(|table| table.registered == name)
    }
}

fn check_path(open: &[(String, Text, Vec<String>)], name: &str) -> Result<(), Error> {
    if let Some(at) = open.iter().position(|(other, _, _)| other == name) {
        let path = open[at..].iter().map(|(name, _, _)| format!("`{name}`")).collect::<Vec<_>>();
        return Err(Error::Loop { name: name.into(), path: path.join(", ") });
    }
    if open.len() >= limits::VIEW_DEPTH_MAX {
        return Err(Error::TooDeep { name: name.into(), max: limits::VIEW_DEPTH_MAX });
    }
    Ok(())
}

/// Composes the outermost `SELECT`.
fn compose(
    name: &str,
    relation: &model::relation::Relation,
    resolved: &Resolved,
    mut conditions: Vec<String>,
) -> Result<Text, Error> {
    let columns = match (&relation.selection.columns, &relation.source) {
        (Some(columns), _) => select_list(columns)?,
        (None, Source::Dataset(_)) => {
            let table = resolved.tables.first().expect("resolved before");
            let fields = &table.snapshot.dataset.schema.fields;
            fields.iter().map(|field| quote(&field.name)).collect::<Vec<_>>().join(", ")
        }
        (None, _) => "*".into(),
    };
    if let Some(filter) = &relation.selection.filter {
        conditions.insert(0, condition(filter)?);
    }
    Text::compose(&columns, name, &conditions)
}

/// Returns the views and the text of a bound relation, the very queries that were bound.
///
/// A bound relation holds texts as they were written, so what was done to them is done again.
pub(crate) fn reopen(relation: &BoundRelation) -> Result<(Vec<ResolvedView>, Text), Error> {
    let mut hiding = BTreeSet::new();
    let table = &relation.table;
    if table.virtual_columns {
        let dataset = table.name.strip_prefix(ALL).unwrap_or(&table.name);
        hiding.insert(dataset.to_owned());
    }
    let open = |sql: &str| {
        let mut text = Text::parse(sql)?;
        text.hide(&hiding)?;
        Ok::<_, Error>(text)
    };
    let mut views = Vec::with_capacity(relation.views.len());
    for view in &relation.views {
        views.push(ResolvedView { name: view.name.clone(), text: open(&view.sql)? });
    }
    Ok((views, open(&relation.sql)?))
}

/// Gives the tables their virtual columns if a text mentions one, and keeps them out of every `*`.
fn finish(mut resolved: Resolved, mut text: Text) -> Result<(Resolved, Text), Error> {
    let mentioned =
        text.mentions_virtual() || resolved.views.iter().any(|view| view.text.mentions_virtual());
    if mentioned {
        let mut hiding = BTreeSet::new();
        for table in &mut resolved.tables {
            let schema = &table.snapshot.dataset.schema;
            table.virtual_columns =
                schema.field(COMMIT_COLUMN).is_none() && schema.field(COMMIT_TIME_COLUMN).is_none();
            if table.virtual_columns {
                hiding.insert(table.snapshot.dataset.name.clone());
            }
        }
        text.hide(&hiding)?;
        for view in &mut resolved.views {
            view.text.hide(&hiding)?;
        }
    }
    Ok((resolved, text))
}

fn on_table(selection: &Selection, name: &str, table: &Table) -> Result<Vec<String>, Error> {
    let dataset = &table.snapshot.dataset;
    let column = dataset.time_column.as_ref().ok_or_else(|| Error::NoTime {
        name: name.into(),
        advice: "use a condition on one of its columns",
    })?;
    let field = dataset.schema.field(column).ok_or_else(|| Error::Unknown {
        what: "column",
        name: column.clone(),
        nearest: nearest(column, dataset.schema.fields.iter().map(|field| field.name.as_str())),
    })?;
    window::conditions(selection, name, column, &field.kind.to_arrow())
}

async fn on_view(bind: &Bind, view: &View, resolved: &Resolved) -> Result<Vec<String>, Error> {
    let column = view.time_column.as_ref().ok_or_else(|| Error::NoTime {
        name: view.name.clone(),
        advice: "make the view with a time column",
    })?;
    let kind = type_of(bind, view, column, resolved).await?;
    window::conditions(&bind.relation.selection, &view.name, column, &kind)
}

/// Plans a view only to learn the type of one of its columns.
async fn type_of(
    bind: &Bind,
    view: &View,
    column: &str,
    resolved: &Resolved,
) -> Result<DataType, Error> {
    let text = Text::compose(&quote(column), &view.name, &[])?;
    let (resolved, text) = finish(resolved.clone(), text)?;
    let session = Session::new(bind.now, &crate::session::Limits::default(), None)?;
    for table in &resolved.tables {
        let schema = &table.snapshot.dataset.schema;
        let provider = DatasetTable::new(schema, table.virtual_columns, None);
        session.add_table(&table.registered, std::sync::Arc::new(provider))?;
    }
    for view in &resolved.views {
        session.add_view(&view.name, &view.text).await?;
    }
    let plan = session.plan(&text).await?;
    Ok(plan.schema().field(0).data_type().clone())
}

/// Puts a filtered view in the place of each dataset.
fn narrow(selection: &Selection, resolved: &mut Resolved) -> Result<(), PortError> {
    let mut narrowed = Vec::new();
    for table in &mut resolved.tables {
        let name = table.registered.clone();
        let conditions = on_table(selection, &name, table)?;
        table.registered = format!("{ALL}{name}");
        let text = Text::compose("*", &table.registered, &conditions)?;
        narrowed.push(ResolvedView { name, text });
    }
    narrowed.append(&mut resolved.views);
    resolved.views = narrowed;
    Ok(())
}

#[cfg(test)]
mod tests;
