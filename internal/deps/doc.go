// Package deps holds no code, only the test that keeps the house in order: who may import
// whom, which module has which single user, and what the project's text must not mention.
//
// The rules are the tables of rules_test.go, each with its reason, which a failure prints.
// A new module or a new layer is a new row there. Every Go file counts, whatever system it
// is for and whether or not this build would compile it.
package deps
