//go:build !windows

package main

// leaveConsole has nothing to leave: nothing makes a terminal for a program.
func leaveConsole([]string) bool { return false }
