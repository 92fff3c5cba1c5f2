# Installs what building and mounting need on Windows, and says so: WinFsp, by winget or
# Chocolatey. Does nothing when all is there.
$ErrorActionPreference = 'Stop'
$PSNativeCommandUseErrorActionPreference = $false # exit codes are looked at here

function Say([string] $text) { Write-Host "setup: $text" }

if (-not (Get-Command go -ErrorAction SilentlyContinue)) {
    Say 'Go is missing: install Go 1.26 or newer (winget install GoLang.Go), open a new terminal, then run this again'
    exit 1
}

# WinFsp notes its directory in the 32-bit view of the registry, on every Windows.
function Test-WinFsp {
    foreach ($key in 'HKLM:\SOFTWARE\WOW6432Node\WinFsp', 'HKLM:\SOFTWARE\WinFsp') {
        $found = Get-ItemProperty -Path $key -Name InstallDir -ErrorAction SilentlyContinue
        if ($found -and (Test-Path (Join-Path $found.InstallDir 'bin'))) { return $true }
    }
    return $false
}

$installers = [ordered] @{
    winget = { winget install --id WinFsp.WinFsp --exact --silent --accept-source-agreements --accept-package-agreements }
    choco  = { choco install winfsp --yes --no-progress }
}
$tried = @()
foreach ($name in $installers.Keys) {
    if (Test-WinFsp) { exit 0 }
    if (Get-Command $name -ErrorAction SilentlyContinue) {
        Say "installing WinFsp with $name"
        & $installers[$name]
        $tried += "$name (code $LASTEXITCODE)"
    }
}
# What an installer returned says less than whether WinFsp is there now.
if (Test-WinFsp) { exit 0 }
if ($tried) {
    Say "WinFsp was not installed by $($tried -join ' or '): install it from https://winfsp.dev/rel/, then run this again"
} else {
    Say 'WinFsp is missing, and neither winget nor Chocolatey is here to install it: get it from https://winfsp.dev/rel/'
}
exit 1
