// The Android packages: what an app depends on, what its tests depend on, and a sample.
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "backstop-android"

include(":sdk", ":fcm", ":testing", ":sample")
