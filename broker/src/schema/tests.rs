//! Schemas as operators meet them.
