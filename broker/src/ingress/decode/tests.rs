//! Decoding, against what the rules say and against prost-reflect.
