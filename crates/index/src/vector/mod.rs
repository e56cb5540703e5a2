//! Which rows of a segment are nearest to a query vector?
