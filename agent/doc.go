// Package agent runs updates: it turns configuration into a decision, a source's
// answer into a verdict, a verdict into a set in the engine directory, and all
// of it into a record that a report can be made of.
//
// The cycle is Agent.Update, in cycle.go, step by step:
//
//  1. Settings: managed over local over defaults.
//  2. Decide: is an update due and allowed, from which sources in which order.
//  3. Ask each source for news.
//  4. Verify the signed list; compare it with what is installed and accepted.
//  5. Plan: what is at hand, what must come, is there room.
//  6. Fetch into staging, hashing; seal the set.
//  7. Preload hook: the sealed set, to which nothing leads yet.
//  8. Commit: rename, fsync.
//  9. Postload hook: the active set; condemned, back to the one before.
//  10. Record, report, clean up.
//
// Under the profile vendor nothing says what a package is before it is here, so there
// 5 and 6 come before 4 (vendornews.go); all else is the same.
//
// It promises that whatever happens in between, the engine directory holds the
// old set or the new one, whole and verified; that a failure has one reason
// code and, but for that of the postload hook, changes nothing; and that the next
// run converges by itself.
//
// It does not decide who is trusted (package verifier), how bytes travel
// (agent/source), how they become durable (agent/engine), how a hook is run
// (agent/hook), or how a report looks (package health).
package agent
