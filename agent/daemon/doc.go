// Package daemon keeps one machine up to date for as long as it runs: it follows
// the configuration, and runs an update when one is due.
//
// It decides nothing itself. What is due, and why not, is package agent's word
// (Agent.Plan), asked for anew at each turn of one loop: when something in the
// directories of the configuration changed, when the administrator says so, when
// an update gets on or has ended, when the next one is due, and once a minute. The
// last is what the daemon relies on; everything else only makes it quicker.
//
// The loop itself only reads. What may wait for a disk or a network is a job
// beside it, one at a time: keeping the configuration, hashing, an update.
//
// # What is promised
//
//   - There is one daemon on a machine, and one update at a time.
//   - A change of the configuration is in force within two seconds, where the
//     file system tells of changes, and within a minute everywhere.
//     An update that is under way makes way for it, and what came already is not
//     lost.
//   - The clock of the wall may be set, and the machine may sleep: updates
//     neither pile up nor stop.
//   - Run returns within a second of being told to, whatever is under way. What
//     an update was doing is as safe as with a loss of power.
//   - The service manager is told what the daemon does, and hears of it as long
//     as the loop turns and an update gets on. A sync that takes long is no hang.
//   - At rest there is one timer, and nothing is written.
//
// # What is not promised
//
// That an update which hangs in the kernel, on a dead network file system for
// one, goes on: nobody can end it from here. Its lock shows that it does not get
// on, and after an hour the service manager hears nothing any more.
package daemon
