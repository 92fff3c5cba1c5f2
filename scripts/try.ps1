# Shows Pocket at work on Windows: installs WinFsp when it is missing, builds, mounts a
# directory on the built-in memory store and one on a folder, writes and reads through
# both, mounts again to show what is still there, and unmounts. All of it happens in one
# temporary directory.
#
#   scripts\try.ps1         try it
#   scripts\try.ps1 -Keep   and stay mounted
param([switch] $Keep)
$ErrorActionPreference = 'Stop'
$PSNativeCommandUseErrorActionPreference = $false # exit codes are looked at here
Set-Location (Join-Path $PSScriptRoot '..')

function Say([string] $what, [string] $text) { Write-Host ('{0,-9} {1}' -f $what, $text) }

& (Join-Path $PSScriptRoot 'setup.ps1')
if ($LASTEXITCODE -ne 0) { exit 1 }

# Windows builds need no C compiler.
$env:CGO_ENABLED = '0'
$clock = [Diagnostics.Stopwatch]::StartNew()
New-Item -ItemType Directory -Force bin | Out-Null
go build -o bin\ ./cmd/...
if ($LASTEXITCODE -ne 0) { exit 1 }
$program = Join-Path (Get-Location) 'bin\pocket.exe'
Say 'built' ('bin\pocket.exe ({0:0} s)' -f $clock.Elapsed.TotalSeconds)

# GetTempPath may give a short name (RUNNER~1): the long one is what pocket shows.
$temp = (Get-Item ([IO.Path]::GetTempPath())).FullName
$dir = Join-Path $temp ('pocket-try-' + [IO.Path]::GetRandomFileName().Replace('.', ''))
$errors = Join-Path $dir 'stderr.txt'
$script:process = $null

# Start-Pocket runs pocket with a console of its own, hidden, until both mounts can be used.
function Start-Pocket {
    $before = $env:LOCALAPPDATA
    $env:LOCALAPPDATA = Join-Path $dir 'data'
    try {
        $script:process = Start-Process -FilePath $program -ArgumentList '--config', ('"{0}"' -f (Join-Path $dir 'config.toml')) `
            -RedirectStandardError $errors -RedirectStandardOutput (Join-Path $dir 'stdout.txt') -WindowStyle Hidden -PassThru
        $null = $script:process.Handle # or PowerShell forgets the exit code
    } finally {
        $env:LOCALAPPDATA = $before
    }
    foreach ($mount in 'memory', 'folder') {
        while (-not (Select-String -Quiet -Path $errors -Pattern "^pocket: mounted $mount at " -ErrorAction SilentlyContinue)) {
            if ($script:process.HasExited) {
                $script:process = $null
                throw "pocket ended before $mount was mounted:`n$(Get-Content -Raw $errors)"
            }
            Start-Sleep -Milliseconds 50
        }
    }
}

# Stop-Pocket does what Ctrl-C in pocket's console does. It takes a process of its own,
# because a process is in one console at a time.
function Stop-Pocket {
    $press = @'
Add-Type -Namespace Win32 -Name Console -MemberDefinition @"
[DllImport("kernel32.dll", SetLastError = true)] public static extern bool FreeConsole();
[DllImport("kernel32.dll", SetLastError = true)] public static extern bool AttachConsole(uint pid);
[DllImport("kernel32.dll", SetLastError = true)] public static extern bool SetConsoleCtrlHandler(IntPtr handler, bool add);
[DllImport("kernel32.dll", SetLastError = true)] public static extern bool GenerateConsoleCtrlEvent(uint code, uint group);
"@
[Win32.Console]::FreeConsole() | Out-Null
if (-not [Win32.Console]::AttachConsole(PID)) { exit 1 }
[Win32.Console]::SetConsoleCtrlHandler([IntPtr]::Zero, $true) | Out-Null
if (-not [Win32.Console]::GenerateConsoleCtrlEvent(0, 0)) { exit 1 }
Start-Sleep -Milliseconds 200
'@.Replace('PID', [string] $script:process.Id)
    $encoded = [Convert]::ToBase64String([Text.Encoding]::Unicode.GetBytes($press))
    $presser = Start-Process -FilePath (Get-Process -Id $PID).Path -ArgumentList '-NoProfile', '-EncodedCommand', $encoded -WindowStyle Hidden -PassThru -Wait
    if ($presser.ExitCode -ne 0) { throw "Ctrl-C could not be sent to pocket (process $($script:process.Id))" }
    if (-not $script:process.WaitForExit(60000)) { throw 'pocket does not end' }
    $code = $script:process.ExitCode
    $script:process = $null
    if ($code -ne 0) { throw "pocket ended with code ${code}:`n$(Get-Content -Raw $errors)" }
    if (Test-Path (Join-Path $dir 'folder\hello.txt')) { throw "$dir\folder is still mounted" }
}

# Compare-Files throws when two files differ.
function Compare-Files([string] $one, [string] $other) {
    if ((Get-FileHash $one).Hash -ne (Get-FileHash $other).Hash) { throw "$other differs from $one" }
}

# Use-Mount writes into a mount, reads it again, and says so.
function Use-Mount([string] $name) {
    $at = Join-Path $dir $name
    Set-Content -NoNewline -Encoding Ascii -Path (Join-Path $at 'hello.txt') -Value "hello from $name"
    $read = Get-Content -Raw (Join-Path $at 'hello.txt')
    if ($read -ne "hello from $name") { throw "$at\hello.txt reads differently than it was written" }
    New-Item -ItemType Directory (Join-Path $at 'project') | Out-Null
    Copy-Item -Recurse cmd (Join-Path $at 'project')
    $root = (Get-Item cmd).FullName
    foreach ($file in Get-ChildItem -Recurse -File cmd) {
        Compare-Files $file.FullName (Join-Path $at ('project\cmd' + $file.FullName.Substring($root.Length)))
    }
    Copy-Item (Join-Path $dir 'large') (Join-Path $at 'project\large')
    Compare-Files (Join-Path $dir 'large') (Join-Path $at 'project\large')
    Rename-Item (Join-Path $at 'project') 'renamed'
    $count = @(Get-ChildItem -Recurse -File $at).Count
    Say $name "wrote and read $count files at $at, one of 20 MB; renamed their directory"
}

try {
    New-Item -ItemType Directory (Join-Path $dir 'objects') | Out-Null
    $config = @"
[storages.folder]
backend = "dir"
[storages.folder.dir]
path = '$dir\objects'

[[mounts]]
name = "memory"
mount_path = '$dir\memory'
storage = "memory"

[[mounts]]
name = "folder"
mount_path = '$dir\folder'
storage = "folder"
"@
    # Not Set-Content: Windows PowerShell would begin the file with a byte order mark.
    [IO.File]::WriteAllText((Join-Path $dir 'config.toml'), $config)
    $large = New-Object byte[] 20000000
    (New-Object Random 1).NextBytes($large)
    [IO.File]::WriteAllBytes((Join-Path $dir 'large'), $large)

    Start-Pocket
    Say 'mounted' "memory (gone when pocket stops) and folder (kept in $dir\objects)"
    Use-Mount 'memory'
    Use-Mount 'folder'
    Stop-Pocket
    Say 'stopped' "everything uploaded, both unmounted; $(@(Get-ChildItem -Recurse -File (Join-Path $dir 'objects')).Count) objects in the folder"
    Start-Pocket
    if ((Get-Content -Raw (Join-Path $dir 'folder\hello.txt')) -ne 'hello from folder') { throw "$dir\folder\hello.txt is not there any more" }
    Compare-Files (Join-Path $dir 'large') (Join-Path $dir 'folder\renamed\large')
    if (@(Get-ChildItem -Force (Join-Path $dir 'memory')).Count -ne 0) { throw "$dir\memory is not empty" }
    Say 'again' 'mounted again: folder has all its files, memory is empty'

    if ($Keep) {
        Say 'kept' "$dir\memory and $dir\folder stay mounted"
        Say 'stop' "Stop-Process $($script:process.Id)    (changes wait in $dir\data; then Remove-Item -Recurse $dir)"
        $script:process = $null
        $dir = $null
        exit 0
    }
    Stop-Pocket
    Say 'done' "all unmounted; $dir is removed"
} catch {
    Say 'failed' $_.Exception.Message
    exit 1
} finally {
    if ($script:process) { $script:process.Kill(); $script:process.WaitForExit() }
    # What might still be mounted is left alone: removing it would empty the store.
    if ($dir -and (Test-Path $dir) -and -not (Test-Path (Join-Path $dir 'memory')) -and -not (Test-Path (Join-Path $dir 'folder'))) {
        Remove-Item -Recurse -Force $dir
    }
}
