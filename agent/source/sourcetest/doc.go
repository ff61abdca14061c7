// Package sourcetest has what tests of sources need: the servers that mirrors
// are built of in the field, run on a free loopback port for the length of one
// test, a spool of files, and a suite of checks that every source must pass.
//
// It is for tests alone. A server that is not installed skips the test and says
// what to install.
package sourcetest
