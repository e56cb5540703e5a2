//! Which rows of a segment have a scalar value, or a value in a range?
