# Runs every test there is on Windows: vet, builds, unit tests, and e2e with real mounts
# through WinFsp.
$ErrorActionPreference = 'Stop'
$PSNativeCommandUseErrorActionPreference = $false # Run looks at exit codes
Set-Location (Join-Path $PSScriptRoot '..')

$started = Get-Date
function Step([string] $name) {
    Write-Host ''
    Write-Host ("== {0} ({1:0} s)" -f $name, ((Get-Date) - $started).TotalSeconds)
}
# Run runs a program and ends the script when it fails: PowerShell itself goes on.
function Run([scriptblock] $command) {
    & $command
    if ($LASTEXITCODE -ne 0) {
        Write-Host "failed with code ${LASTEXITCODE}: $($command.ToString().Trim())"
        exit 1
    }
}

# Windows builds need no C compiler.
$env:CGO_ENABLED = '0'

Step 'what the tests need'
Run { & (Join-Path $PSScriptRoot 'setup.ps1') }

Step 'build, vet'
Run { go build ./... }
Run { go vet ./... }

Step 'unit tests'
$packages = @(go list ./... | Where-Object { $_ -notmatch '/e2e(/|$)' })
if ($LASTEXITCODE -ne 0 -or $packages.Count -eq 0) { exit 1 }
Run { go test -timeout 30m $packages }

Step 'e2e: the built binaries and real mounts'
# Installing is for one test after the other: there is one registry.
Run { go test -count=1 -timeout 60m ./e2e/... }

Step 'all passed'
exit 0
