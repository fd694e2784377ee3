//! Model packages, format 1.
