//! The suite of every engine, on a simulated disk and on the real one.

mod simulated {
    crate::conformance_tests!(crate::embedded::tests::place::SimFactory);
}

mod real {
    crate::conformance_tests!(crate::embedded::tests::place::OsFactory);
}
