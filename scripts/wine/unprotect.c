/* Reads what the Data Protection API has encrypted from standard input and writes what is
   in it, as any program of the same user can: the tests of pocket-creds compare it with
   what the first Pocket kept.

   Build: x86_64-w64-mingw32-gcc -O2 -Wall -o unprotect.exe unprotect.c -lcrypt32 */
#include <windows.h>
#include <wincrypt.h>
#include <fcntl.h>
#include <io.h>
#include <stdio.h>

int main(void)
{
	static BYTE sealed[64 << 10];
	DATA_BLOB in = { 0, sealed }, out;

	_setmode(_fileno(stdin), _O_BINARY);
	_setmode(_fileno(stdout), _O_BINARY);
	in.cbData = (DWORD)fread(sealed, 1, sizeof sealed, stdin);
	if (!CryptUnprotectData(&in, NULL, NULL, NULL, NULL, CRYPTPROTECT_UI_FORBIDDEN, &out)) {
		fprintf(stderr, "CryptUnprotectData: error %lu\n", GetLastError());
		return 1;
	}
	return fwrite(out.pbData, 1, out.cbData, stdout) == out.cbData ? 0 : 1;
}
