//! `view create | list | show | drop`.

use model::dataset::{View, Window};
use model::names;
use model::ports::{Catalog, CatalogError, Query};
use model::schema::{Schema, Type};
use server::dialects;

use crate::app::App;
use crate::cli::{self, CreateView};
use crate::failed::Failed;
use crate::output::table;

/// Does a `view` command.
pub(crate) async fn view(app: &App, command: cli::View) -> Result<(), Failed> {
    match command {
        cli::View::Create(args) => create(app, args).await,
        cli::View::List => list(app).await,
        cli::View::Show { name } => show(app, &name).await,
        cli::View::Drop { name } => drop(app, &name).await,
    }
}

async fn create(app: &App, args: CreateView) -> Result<(), Failed> {
    names::check("a view", &args.name)?;
    let now = app.clock.now();
    let columns = app.lake.check_view(&app.workspace, &args.name, &args.sql, now).await?;
    let window = match args.window {
        cli::Window::Input => Window::Input,
        cli::Window::Output => Window::Output,
    };
    if let (Some(column), Window::Output) = (&args.time, window) {
        check_time(&columns, column)?;
    }
    let view =
        View { name: args.name, sql: args.sql, time_column: args.time, window, created_at: now };
    app.store.create_view(&app.workspace, &view).await?;
    app.output.value(&view, |out| writeln!(out, "made the view `{}`", view.name))?;
    Ok(())
}

fn check_time(columns: &Schema, column: &str) -> Result<(), Failed> {
    match columns.field(column).map(|field| &field.kind) {
        Some(Type::Timestamp { .. } | Type::Date) => Ok(()),
        Some(other) => Err(Failed::request(format!(
            "the time column `{column}` is `{other}`; it must be a timestamp or a date"
        ))),
        None => Err(Failed::request(format!(
            "the view has no column `{column}`; name one that it returns, or use --window input"
        ))),
    }
}

async fn list(app: &App) -> Result<(), Failed> {
    let views = app.store.views(&app.workspace).await?;
    let rows: Vec<Vec<String>> =
        views.iter().map(|view| vec![view.name.clone(), view.sql.replace('\n', " ")]).collect();
    app.output.value(&views, |out| table(out, &["view", "sql"], &rows))?;
    Ok(())
}

async fn show(app: &App, name: &str) -> Result<(), Failed> {
    let view = match (app.store.view(&app.workspace, name).await, dialects::view(name)) {
        (Err(CatalogError::NotFound { .. }), Some(own)) => own,
        (found, _) => found?,
    };
    app.output.value(&view, |out| {
        let window = match view.window {
            Window::Input => "the rows that go in",
            Window::Output => "the rows that come out",
        };
        writeln!(out, "view  {}", view.name)?;
        match &view.time_column {
            Some(column) => writeln!(out, "time  {column}, applied to {window}")?,
            None => writeln!(out, "time  no time column")?,
        }
        writeln!(out, "\n{}", view.sql)
    })?;
    Ok(())
}

async fn drop(app: &App, name: &str) -> Result<(), Failed> {
    app.store.drop_view(&app.workspace, name).await?;
    let done = serde_json::json!({ "dropped": name });
    app.output.value(&done, |out| writeln!(out, "dropped the view `{name}`"))?;
    Ok(())
}
