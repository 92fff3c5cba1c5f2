//go:build !windows

package main

// openConsole and leaveConsole have nothing to do: nothing makes a terminal for a program.
func openConsole([]string) (int, bool) { return 0, false }
func leaveConsole([]string) bool       { return false }
