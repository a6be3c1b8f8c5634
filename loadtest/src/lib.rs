//! Load scenarios with their floor
