//! The dialects, as their vendors' clients see them.

mod growingio;
mod liferay;
mod scenarios;
