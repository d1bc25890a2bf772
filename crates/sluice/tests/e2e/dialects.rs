//! The dialects, as their vendors' clients see them.

mod liferay;
mod scenarios;
