"""The tests are a package, so that they find one another's support wherever pytest is started."""
