//! Tests of the machine as a whole. What one module does alone is tested beside it.

mod words;
