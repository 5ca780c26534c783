//! The tests that see the whole: one binary, so that they link once.

mod floors;
