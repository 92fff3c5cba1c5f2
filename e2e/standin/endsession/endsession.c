/* Tells a process what Windows tells it at the end of the user's session, and waits for its
   answers:

       endsession PID logoff|shutdown

   It prints "agreed" or "refused" for the question, and "told" when the process has done what
   it does about it. Windows ends the process then; this does not, so that its exit code can
   be seen.

   Build: x86_64-w64-mingw32-gcc -O2 -Wall -static-libgcc -o endsession.exe endsession.c -luser32 */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
	DWORD process;
	HWND found;
};

/* take keeps a top-level window of the process: messages are sent to each, and Pocket has one. */
static BOOL CALLBACK take(HWND window, LPARAM argument)
{
	struct search *s = (struct search *)argument;
	DWORD process;
	WCHAR class[64];
	GetWindowThreadProcessId(window, &process);
	if (process != s->process || GetClassNameW(window, class, 64) == 0 || wcscmp(class, L"hamflx.pocket.session") != 0)
		return TRUE;
	s->found = window;
	return FALSE;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	struct search s = {.process = (DWORD)strtoul(argv[1], NULL, 10)};
	LPARAM why = strcmp(argv[2], "logoff") == 0 ? (LPARAM)ENDSESSION_LOGOFF : 0;
	EnumWindows(take, (LPARAM)&s);
	if (s.found == NULL) {
		fprintf(stderr, "process %s has no such window\n", argv[1]);
		return 1;
	}
	puts(SendMessageW(s.found, WM_QUERYENDSESSION, 0, why) ? "agreed" : "refused");
	SendMessageW(s.found, WM_ENDSESSION, TRUE, why);
	puts("told");
	return 0;
}
