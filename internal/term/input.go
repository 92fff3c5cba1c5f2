package term

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"
)

// Input asks questions. From a terminal it shows prompts and hides secrets; from a pipe or
// a file it reads one line for each question and shows nothing.
type Input struct {
	in       io.Reader
	lines    *bufio.Reader
	prompts  io.Writer
	answered bool // something was
}

// byteOrderMark is what programs of Windows, PowerShell among them, put before what they write as UTF-8.
const byteOrderMark = "\ufeff"

// maxLine bounds an answer.
const maxLine = 64 << 10

// errForeign is the error of a terminal that cannot be asked.
var errForeign = errors.New("this window (Git Bash, MSYS2, Cygwin) lets no program of Windows hide what is typed: " +
	"use PowerShell or the Command Prompt, or put winpty before the command")

// NewInput asks on prompts and reads from in. Nothing else may read from in: lines are
// read ahead.
func NewInput(in io.Reader, prompts io.Writer) *Input {
	return &Input{in: in, lines: bufio.NewReader(in), prompts: prompts}
}

// Line asks for a line and returns it without its end and without spaces around it. The
// end of the input before any answer is io.ErrUnexpectedEOF.
func (in *Input) Line(prompt string) (string, error) {
	switch {
	case IsTerminal(in.in):
		fmt.Fprint(in.prompts, prompt)
	case isForeign(in.in):
		return "", errForeign
	}
	return in.read()
}

// Secret is Line for what must not be seen. Ctrl-C ends the process with code 130, after
// the terminal shows what is typed again.
func (in *Input) Secret(prompt string) (string, error) {
	if isForeign(in.in) {
		return "", errForeign
	}
	// What was read ahead (pasted lines) is an answer already and was shown.
	if !IsTerminal(in.in) || in.lines.Buffered() > 0 {
		return in.read()
	}
	fd := int(in.in.(file).Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("hide what is typed: %w", err)
	}
	interrupted, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(interrupted, os.Interrupt)
	defer signal.Stop(interrupted)
	defer close(done)
	go func() {
		select {
		case <-interrupted:
			term.Restore(fd, before)
			fmt.Fprintln(in.prompts)
			os.Exit(130)
		case <-done:
		}
	}()
	fmt.Fprint(in.prompts, prompt)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(in.prompts)
	if errors.Is(err, io.EOF) {
		return "", io.ErrUnexpectedEOF
	}
	return strings.TrimSpace(string(b)), err
}

// read returns the next line; one that ends with the input counts, one that breaks off
// with an error does not.
func (in *Input) read() (string, error) {
	var line []byte
	answer := func() string {
		text := string(line)
		if !in.answered {
			text = strings.TrimPrefix(text, byteOrderMark)
		}
		in.answered = true
		return strings.TrimSpace(text)
	}
	for {
		c, err := in.lines.ReadByte()
		switch {
		case err == io.EOF && len(line) > 0 || err == nil && c == '\n':
			return answer(), nil
		case err == io.EOF:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		case len(line) == maxLine:
			return "", errors.New("the answer is too long")
		}
		line = append(line, c)
	}
}
